"""The notebooks: clean in git, with pictures; each runs from top to bottom in an empty folder."""

import base64
import io
import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from notebook_runs import METADATA, NOTEBOOKS, code_of, kept, run

ROOT = Path(__file__).parents[1]
ABSOLUTE_PATH = re.compile(r"(?<![\w./~}])(?:~?/[\w.-]+/|[A-Z]:\\)")

each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def cells(name, kind=None):
    book = json.loads(NOTEBOOKS[name].read_text())
    return [cell for cell in book["cells"] if kind in (None, cell["cell_type"])]


def text(cell):
    return "".join(cell["source"])


def test_the_notebooks_are_the_ones_that_the_page_lists():
    page = (ROOT / "docs" / "notebooks.md").read_text()
    assert re.findall(r"(?m)^\| `(\w+)\.ipynb` \|", page) == list(NOTEBOOKS)
    assert list(NOTEBOOKS) == [
        "1_quickstart", "2_method", "3_dcps_sweep", "4_your_own_images", "5_animals_from_above"
    ]  # fmt: skip


@each_notebook
def test_a_notebook_is_clean(name):
    book = json.loads(NOTEBOOKS[name].read_text())
    nbformat.validate(book)
    assert set(book["metadata"]) == {*METADATA, "outputs_of"}
    assert METADATA.items() <= book["metadata"].items()
    counts = [cell["execution_count"] for cell in cells(name, "code")]
    assert counts == list(range(1, len(counts) + 1))  # run once, from top to bottom
    ids = [cell["id"] for cell in cells(name)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z-]+", given) for given in ids)  # by hand, so they stay
    assert all(cell["metadata"] == {} for cell in cells(name))


@each_notebook
def test_a_notebook_says_what_it_is_and_how_long_it_takes(name):
    first = text(cells(name)[0])
    assert re.match(rf"# {name[0]}\. \w+", first)
    assert re.search(r"(?m)^Takes about [\w ]*minutes?\b", first)


@each_notebook
def test_a_notebook_names_no_place_of_one_machine(name):
    for cell in cells(name):
        said = "\n".join([text(cell), *printed(cell)])
        prose = re.sub(r"https?://\S+", "", said)
        assert not ABSOLUTE_PATH.search(prose), cell["id"]


def test_absolute_paths_are_seen():
    assert ABSOLUTE_PATH.search('Path("/home/me")')
    assert ABSOLUTE_PATH.search("ls ~/crops/")
    assert not ABSOLUTE_PATH.search("runs/first and docs/method.md, 1 / 2, a/b/c")


@each_notebook
def test_what_a_notebook_points_to_is_there(name):
    prose = "\n".join(text(cell) for cell in cells(name, "markdown"))
    for target in re.findall(r"\]\((\w+\.ipynb)\)", prose):
        assert (ROOT / "notebooks" / target).is_file()
    for target in re.findall(r"`(docs/\w+\.md)`", prose):
        assert (ROOT / target).is_file()


@each_notebook
def test_a_shell_cell_stops_at_its_first_failure(name):
    for cell in cells(name, "code"):
        if text(cell).startswith("%%bash"):
            commands = re.sub(r"\\\n", " ", text(cell)).splitlines()[1:]
            assert len(commands) == 1 or commands[0] == "set -e", cell["id"]


@each_notebook
def test_python_in_a_shell_cell_is_that_of_the_kernel(name):
    code = [text(cell) for cell in cells(name, "code")]
    calls = [n for n, source in enumerate(code) if re.search(r"(?m)^python ", source)]
    chosen = [n for n, source in enumerate(code) if 'environ["PATH"] = f"{Path(sys.exec' in source]
    assert not calls or chosen == [0]
    assert 0 not in calls


# Outputs


def printed(cell):
    """Return the texts among the outputs of a cell."""
    return [
        "".join(part)
        for output in cell.get("outputs", [])
        for kind, part in {"text/plain": output.get("text", ""), **output.get("data", {})}.items()
        if kind.startswith("text/")
    ]


def pictures(name):
    """Return the pictures among the outputs of a notebook."""
    return [
        Image.open(io.BytesIO(base64.b64decode("".join(part))))
        for cell in cells(name, "code")
        for output in cell["outputs"]
        for kind, part in output.get("data", {}).items()
        if kind.startswith("image/")
    ]


@each_notebook
def test_outputs_are_those_of_the_code(name):
    book = nbformat.read(NOTEBOOKS[name], as_version=4)
    assert book.metadata["outputs_of"] == code_of(book), "run make notebooks"


@each_notebook
def test_a_notebook_ships_with_small_pictures(name):
    assert NOTEBOOKS[name].stat().st_size < 500_000
    shown = pictures(name)
    assert len(shown) >= ENDS[name][0]
    for picture in shown:
        assert picture.width <= 800
        assert len(picture.convert("L").getcolors()) > 5  # not blank
        assert not {"exif", "Software", "date:create"} & set(picture.info)


@each_notebook
def test_outputs_hold_neither_times_nor_errors(name):
    noise = r"\d\s?(s|ms|seconds?|images/s|it/s)\b|\d\d:\d\d|20\d\d-\d\d|\x1b|\| seconds"
    for cell in cells(name, "code"):
        assert {output.get("name", "stdout") for output in cell["outputs"]} <= {"stdout"}
        assert all(output["output_type"] != "error" for output in cell["outputs"])
        assert not re.search(noise, "\n".join(printed(cell))), cell["id"]
        assert all(output.get("metadata", {}) == {} for output in cell["outputs"])


@each_notebook
def test_the_last_cell_tells_how_it_ended(name):
    ENDS[name][1](printed(cells(name, "code")[-1])[-1])


def test_outputs_lose_what_a_repository_should_not_hold(tmp_path):
    noise = Image.effect_noise((1600, 400), 90)
    png = io.BytesIO()
    noise.save(png, "PNG")
    encoded = base64.b64encode(png.getvalue()).decode()
    table = "\x1b[1m  epoch  loss     time\x1b[0m\n  start          12.3s\n"
    outputs = [
        new_output("stream", name="stdout", text=table),
        new_output("stream", name="stderr", text="a warning"),
        new_output("display_data", data={"image/png": encoded, "text/plain": "<a figure>"}),
        new_output("display_data", data={"text/markdown": "| mAP | seconds |\n| 9 ± 1 | 7 ± 1 |"}),
        new_output("stream", name="stdout", text=f"    1/2 1.234 0.1s\noutputs: {tmp_path}/a\n"),
    ]
    cell = new_code_cell("1 + 1", outputs=outputs, metadata={"execution": {"iopub": "now"}})
    book = kept(
        new_notebook(cells=[cell], metadata={"language_info": {"name": "python", "version": "3"}}),
        tmp_path,
    )
    before, shown, scores, after = book.cells[0].outputs
    assert before.text == "  epoch  loss\n  start\n"
    assert after.text == "    1/2 1.234\noutputs: a\n"
    assert scores.data["text/markdown"] == "| mAP |\n| 9 ± 1 |"
    assert set(shown.data) == {"image/jpeg", "text/plain"}
    picture = Image.open(io.BytesIO(base64.b64decode(shown.data["image/jpeg"])))
    assert picture.size == (800, 200)
    assert book.cells[0].metadata == {}
    assert book.metadata["outputs_of"] == code_of(book)
    book.cells[0].source = "1 + 2"
    assert book.metadata["outputs_of"] != code_of(book)


# Running them


def figures(line):
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", line)]


def quickstart(said):
    before, queries, after = figures(said.replace("%", ""))
    assert queries > 100
    assert after > before + 5


def method(said):
    ari, loss = figures(said)
    assert 0.05 < ari < 1
    assert 0 < loss < 20


def dcps_sweep(said):
    jobs, settings = re.search(r"(\d+) jobs, best: (.*)", said).groups()
    assert int(jobs) == 12
    assert re.fullmatch(r"scheduler\.start=\S+ scheduler\.rate=\S+", settings)
    best, second = figures(re.search(r"mAP .*", said)[0])
    assert 100 > best >= second > 0


def your_own_images(said):
    threshold, left, hits = figures(said)
    assert 0 < threshold < 1
    assert 0 < left < hits == 30


def animals_from_above(said):
    plain, aligned = figures(said)
    assert 0 < 1.5 * plain < aligned < 6


ENDS = {  # pictures that are shown, at least, and what the last cell says
    "1_quickstart": (4, quickstart),
    "2_method": (9, method),
    "3_dcps_sweep": (3, dcps_sweep),
    "4_your_own_images": (6, your_own_images),
    "5_animals_from_above": (4, animals_from_above),
}


SECONDS = {
    "1_quickstart": 100, "2_method": 60, "3_dcps_sweep": 130, "4_your_own_images": 160,
    "5_animals_from_above": 60,
}  # fmt: skip
"""What each notebook may take of a processor: five minutes in all, and half as much again."""


def form(cell):
    """Return what a cell prints without its figures, and how many pictures it shows."""
    said = re.sub(r"[-\d.]+|[─━]+|\s+", " ", "".join(printed(cell)))
    return re.sub(r"\W* ", " ", said), sum("data" in output for output in cell.get("outputs", []))


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_in_an_empty_folder(name, tmp_path, world_folder, monkeypatch):
    monkeypatch.setenv("DCCC_CACHE", str(world_folder))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    folder = tmp_path / "work"
    folder.mkdir()
    before = os.times()
    book = kept(run(NOTEBOOKS[name], folder), folder)
    after = os.times()  # of nbconvert, which has ended, and of what it started
    taken = after.children_user + after.children_system
    assert 1 < taken - before.children_user - before.children_system < SECONDS[name]
    assert [form(cell) for cell in book.cells] == [form(cell) for cell in cells(name)]
    last = [cell for cell in book.cells if cell.cell_type == "code"][-1]
    ENDS[name][1](printed(last)[-1])
