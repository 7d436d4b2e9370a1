"""Run the notebooks in empty folders, and keep outputs that are small and name no machine.

``make notebooks`` runs them all and writes their outputs into ``notebooks/``.
"""

import base64
import hashlib
import io
import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image

NOTEBOOKS = {
    path.stem: path for path in sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
}
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_SECONDS = re.compile(r"(?m) +(?:time|\d+\.\ds)$")
_LAST_COLUMN = re.compile(r"(?m)\| [^|\n]* \|$")
_WIDTH, _PIXELS = 800, 450_000
"""What a picture may have at most."""

_JPEG_QUALITY = 75


def run(path: Path, folder: Path, *arguments: str) -> NotebookNode:
    """Return a copy of a notebook that nbconvert has executed in a folder."""
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    convert = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"]
    done = subprocess.run(
        [*convert, *arguments, path.name], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return nbformat.read(copy, as_version=4)


def code_of(book: NotebookNode) -> str:
    """Return a digest of the cells with code: outputs belong to it."""
    cells = [cell.source for cell in book.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(cells).encode()).hexdigest()


def kept(book: NotebookNode, folder: Path) -> NotebookNode:
    """Strip paths, colours, times and errors from the outputs, and make the pictures small."""
    book.metadata = nbformat.from_dict(METADATA | {"outputs_of": code_of(book)})
    for cell in book.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = list(_outputs(cell.outputs, folder))
    return book


def _outputs(outputs: list[NotebookNode], folder: Path) -> Iterator[NotebookNode]:
    """Yield what a cell prints, with successive parts joined, and what it shows."""
    wanted = [output for output in outputs if "data" in output or output.get("name") == "stdout"]
    for is_printed, group in itertools.groupby(wanted, lambda output: "data" not in output):
        if is_printed:
            printed = _COLOR.sub("", "".join(output.text for output in group))
            text = _SECONDS.sub("", printed).replace(f"{folder}/", "")
            yield nbformat.v4.new_output("stream", name="stdout", text=text)
            continue
        yield from (_shown(output) for output in group)


def _shown(output: NotebookNode) -> NotebookNode:
    """Return an output with its texts and a small picture."""
    data = {kind: text for kind, text in output.data.items() if kind.startswith("text/")}
    if " seconds |\n" in data.get("text/markdown", ""):
        data["text/markdown"] = _LAST_COLUMN.sub("|", data["text/markdown"])
    if "image/png" in output.data:
        kind, picture = _small(base64.b64decode(output.data["image/png"]))
        data[kind] = base64.b64encode(picture).decode() + "\n"
    output.data, output.metadata = nbformat.from_dict(data), NotebookNode()
    return output


def _small(png: bytes) -> tuple[str, bytes]:
    """Return a picture as JPEG or with a palette, in which it takes less."""
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    scale = min(1, _WIDTH / image.width, (_PIXELS / image.width / image.height) ** 0.5)
    image = image.resize(
        (round(scale * image.width), round(scale * image.height)), Image.Resampling.LANCZOS
    )
    jpeg, palette = io.BytesIO(), io.BytesIO()
    image.save(jpeg, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    image.quantize(256, dither=Image.Dither.NONE).save(palette, "PNG", optimize=True)
    if len(jpeg.getvalue()) < len(palette.getvalue()):
        return "image/jpeg", jpeg.getvalue()
    return "image/png", palette.getvalue()


def main() -> None:
    """Run the named notebooks, or all, and keep their outputs."""
    for name in sys.argv[1:] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            book = kept(run(NOTEBOOKS[name], Path(folder).resolve()), Path(folder).resolve())
        nbformat.write(book, NOTEBOOKS[name])
        print(f"{name}: {NOTEBOOKS[name].stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
