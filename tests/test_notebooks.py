"""The notebooks: clean in git, and each of them runs from top to bottom in an empty folder."""

import json
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
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
    assert book["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in cells(name, "code"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
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
        prose = re.sub(r"https?://\S+", "", text(cell))
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


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_in_an_empty_folder(name, tmp_path, world_folder, monkeypatch):
    monkeypatch.setenv("DCCC_CACHE", str(world_folder))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "work"
    folder.mkdir()
    book = nbformat.read(NOTEBOOKS[name], as_version=4)
    before = os.times()
    NotebookClient(book, timeout=550, resources={"metadata": {"path": str(folder)}}).execute()
    after = os.times()  # of the kernel, which has ended, and of what it started
    taken = after.children_user + after.children_system
    assert 1 < taken - before.children_user - before.children_system < SECONDS[name]
    shown = [o for cell in book.cells for o in cell.get("outputs", []) if "data" in o]
    least, end = ENDS[name]
    assert sum("image/png" in output["data"] for output in shown) >= least
    last = [cell for cell in book.cells if cell.cell_type == "code"][-1]
    end("".join(output["text"] for output in last.outputs if output.output_type == "stream"))
