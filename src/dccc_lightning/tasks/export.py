"""``task=export``: verified export to ONNX and ``torch.export`` with a model card."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from rich.table import Table

from dccc_lightning.common import checks
from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.files import write_atomically, write_json
from dccc_lightning.common.progress import announced
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.errors import UserError
from dccc_lightning.inference.checked_export import about, compared, decoded
from dccc_lightning.inference.export_example import EMBEDDING, EXAMPLE, ExportExample
from dccc_lightning.inference.exporting import (
    FORMATS,
    Parity,
    images_per_second,
    require_packages,
    to_onnx,
    to_program,
    to_pt2,
)
from dccc_lightning.inference.image_embedder import ImageEmbedder
from dccc_lightning.inference.model_card import model_card
from dccc_lightning.tasks.inputs import embedder_of, images_of, source_of

CARD, REPORT = "MODEL_CARD.md", "export.json"


def export(settings: Settings, output: Path) -> dict[str, Any]:
    """Export the network of ``ckpt``, after comparing each format with the module.

    Args:
        settings: Composed configuration.
        output: Folder to write model.onnx, model.pt2, MODEL_CARD.md, export.json, example.jpg and
            its embedding example.npy to.

    Returns:
        The content of export.json.

    Raises:
        UserError: A setting, the checkpoint or an image is invalid, a package is missing, or an
            exported network disagrees with the module; nothing is written then.
    """
    formats = checked("formats", lambda: _formats(settings["formats"]))
    require_packages(formats)
    embedder = embedder_of(settings, "cpu")  # exported files must run on any device
    source = source_of(settings, private=True)  # the model card is distributed
    pixels = _pixels(settings, embedder)
    described = about(embedder)
    with announced("exporting"):
        program = to_program(embedder)
        writers = {"onnx": to_onnx, "pt2": to_pt2}
        contents = {name: writers[name](program, described) for name in formats}
    example = ExportExample.of(embedder)
    parity, speed = _compared(embedder, contents, pixels)
    facts = {
        **described,
        "parameters": sum(p.numel() for p in embedder.network.parameters()),
        "files": {f"model.{name}": len(content) for name, content in contents.items()},
        "parity": {f"model.{name}": asdict(found) for name, found in parity.items()},
        "compared": f"{len(pixels)} images ({source})",
        "speed": speed,
        "example": {"bgr_cost": example.bgr_cost},
        "machine": f"the CPU, threads: {torch.get_num_threads()}; torch {torch.__version__}",
    }
    run = _run_of(embedder)
    card = model_card(
        embedder.origin,
        facts,
        _read(run / "config.yaml") if run else None,
        _read(run / "results.json") if run else None,
        settings["licence"],
    )
    for name, content in contents.items():
        write_atomically(output / f"model.{name}", content)
    write_atomically(output / EXAMPLE, example.picture)
    write_atomically(output / EMBEDDING, example.embedding_file)
    write_atomically(output / CARD, card.encode())
    write_json(output / REPORT, facts)
    CONSOLE.print(_table(facts))
    return facts


def _formats(chosen: object) -> list[str]:
    """Return the distinct formats in the order of ``FORMATS``."""
    names = [chosen] if isinstance(chosen, str) else chosen
    if not isinstance(names, Sequence) or not names:
        raise ValueError(f"formats must be one or several of {', '.join(FORMATS)}, got {chosen!r}")
    for name in names:
        checks.choice("formats", name, FORMATS)
    return [name for name in FORMATS if name in names]


def _pixels(settings: Settings, embedder: ImageEmbedder) -> NDArray[np.uint8]:
    """Decode the first images of ``input`` for the comparison."""
    number = checked("images", lambda: checks.integer("images", settings["images"], 2))
    rows = list(islice(images_of(settings), number))
    if not rows:
        raise UserError(f"input={settings['input']}: no images to compare on")
    return decoded([row.path for row in rows], embedder)


def _compared(
    embedder: ImageEmbedder, contents: Mapping[str, bytes], pixels: NDArray[np.uint8]
) -> tuple[dict[str, Parity], dict[str, dict[str, float]]]:
    """Compare the exported networks with the module and measure their speed."""
    runs = {"torch": lambda images: embedder.embed(torch.from_numpy(images)).numpy()}
    ours = runs["torch"](pixels)
    parity: dict[str, Parity] = {}
    for name, content in contents.items():
        run, parity[name] = compared(content, name, pixels, ours)
        runs[{"onnx": "onnxruntime", "pt2": "torch.export"}[name]] = run
    speed = {
        name: {
            str(size): round(images_per_second(run, pixels[:size]), 1)
            for size in (1, min(32, len(pixels)))
        }
        for name, run in runs.items()
    }
    return parity, speed


def _run_of(embedder: ImageEmbedder) -> Path | None:
    """Return the run folder of the network, if it is in one."""
    if embedder.origin.path == "bundled":
        return None
    folders = Path(embedder.origin.path).absolute().parents[:2]
    return next((folder for folder in folders if (folder / "config.yaml").is_file()), None)


def _read(path: Path) -> Mapping[str, Any] | None:
    """Read a YAML or JSON file of the run; None if it does not exist."""
    if not path.is_file():
        return None
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: damaged; restore it, or remove it to export without") from error
    return content if isinstance(content, Mapping) else None


def _table(facts: Mapping[str, Any]) -> Table:
    """Return a table of agreement and speed for the terminal."""
    table = Table(title=f"{facts['compared']}, {facts['machine']}", title_justify="left")
    sizes = list(next(iter(facts["speed"].values())))
    for head in ("", "MB", "smallest cosine", *(f"images/s, batch {size}" for size in sizes)):
        table.add_column(head, justify="right" if head else "left")
    files = {"torch": None, "onnxruntime": "model.onnx", "torch.export": "model.pt2"}
    for name, rates in facts["speed"].items():
        file = files[name]
        found = (
            [f"{facts['files'][file] / 1e6:.1f}", f"{facts['parity'][file]['cosine']:.7f}"]
            if file
            else ["", ""]
        )
        table.add_row(file or "module", *found, *(f"{rate:,.0f}" for rate in rates.values()))
    return table
