"""Versions that are installed: constraints.txt, and files that replace some of its pins."""

import os
import re
import subprocess
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "constraints.txt", *sorted((ROOT / "constraints").glob("*.txt"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(file):
    """Return the version of each package of a file of constraints."""
    lines = file.read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9.-]+==[\w.]+", line) for line in lines), file
    found = dict(line.split("==") for line in lines)
    assert len(found) == len(lines), file
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_pins_what_is_required_within_its_range(file):
    versions = pins(FILES[0]) | pins(file)
    for text in PROJECT["dependencies"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[requirement.name]), text


def test_the_pins_are_for_the_first_release_of_the_lowest_python():
    first = f"{PROJECT['requires-python'].removeprefix('>=')}.0"
    pinned = pins(FILES[0])
    installed = [
        one for one in distributions() if pinned.get(canonicalize_name(one.name)) == one.version
    ]
    assert len(installed) > 0.5 * len(pinned)
    newer = [
        one.name
        for one in installed
        if not SpecifierSet(one.metadata["Requires-Python"] or "").contains(first)
    ]
    assert newer == []


@pytest.mark.parametrize("file", FILES[1:], ids=lambda file: file.name)
def test_a_file_of_another_torch_holds_only_differences(file):
    usual, others = pins(FILES[0]), pins(file)
    assert f"torch-{others['torch'].rpartition('.')[0]}.txt" == file.name
    assert all(usual[name] != version for name, version in others.items())


def test_the_lowest_torch_that_is_allowed_is_among_them():
    floor = next(Requirement(text) for text in PROJECT["dependencies"] if text.startswith("torch>"))
    assert f"torch-{str(floor.specifier).removeprefix('>=')}.txt" in {file.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_make_installs_the_pins_of_a_file(file, tmp_path):
    given = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    choice = [f"CONSTRAINTS={file.relative_to(ROOT)}", f"VENV={tmp_path}"]
    done = subprocess.run(
        ["make", "-n", "setup", *choice],
        cwd=ROOT, env=given, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (join,) = (line for line in done.stdout.splitlines() if line.startswith("awk"))
    subprocess.run(join, shell=True, cwd=ROOT, check=True)
    assert pins(tmp_path / "constraints.txt") == pins(FILES[0]) | pins(file)
    install = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert len(install) == 2
    assert all(f"--constraint {tmp_path}/constraints.txt" in line for line in install)


def test_make_remembers_the_chosen_file(tmp_path):
    given = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}

    def steps(*choice):
        command = ["make", "-n", "setup", f"VENV={tmp_path}", *choice]
        return subprocess.run(
            command, cwd=ROOT, env=given, capture_output=True, text=True, check=True
        ).stdout

    chosen = "constraints/torch-2.11.txt"
    assert f"echo {chosen} > {tmp_path}/.ready" in steps(f"CONSTRAINTS={chosen}")
    (tmp_path / ".ready").write_text(f"{chosen}\n")
    assert "pip install" not in steps()
    assert "pip install" not in steps(f"CONSTRAINTS={chosen}")
    assert "echo constraints.txt >" in steps("CONSTRAINTS=constraints.txt")
    (tmp_path / ".ready").write_text("")  # as before the file could be chosen
    assert "echo constraints.txt >" in steps()
