"""The check of a GPU: its parts, its tables, and what it takes along."""

import importlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "gpu_check"
PAGE = FOLDER.parents[1] / "docs" / "performance.md"


@pytest.fixture
def scripts(monkeypatch):
    """Import the scripts of the folder as a program of it would."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return {name: importlib.import_module(name) for name in ("check", "tables", "wheels")}


@pytest.fixture
def result():
    """Figures of a GPU that meets every target but that of the recipe."""

    def way(rate):
        return {"images_per_second": rate, "step_ms": 256e3 / rate, "peak_bytes": 21 * 10**9}

    def step(backbone, *rates):
        names = ("bare", "ours", "compiled bare", "compiled ours")
        ways = dict(zip(names, map(way, rates), strict=True))
        return {"status": "done", "seconds": 60.0, "figures": {
            "backbone": backbone, "batch": 256, "height": 256, "width": 128, "device": "cuda",
            "precision": "bf16-mixed", "ways": ways}}  # fmt: skip

    knn = {"seconds": 0.5, "peak_bytes": 10**9, "same": True, "largest_gap": 1e-7}
    return {
        "version": 1, "dry": False,
        "machine": {"gpu": "NVIDIA H200", "gpu_memory": 1, "cuda": "13.0", "python": "3.12.3",
                    "cores": 16, "packages": {"torch": "2.11.0", "faiss-gpu": None}},
        "parts": {
            "resnet": step("resnet50", 3000, 2700, 4000, 3600),
            "vit": step("vit_base", 1000, 540, 1100, 600),
            "epoch": {"status": "done", "seconds": 90.0, "figures": {
                "device": "cuda", "images": 12_936, "epochs": 70, "total_s": 25.0,
                "seconds": {"embedding": 2.5, "training": 22.5},
                "gpu_peak_bytes": 9 * 10**9, "peak_bytes": 3 * 10**9}},
            "kernels": {"status": "stopped after 60 s", "seconds": 60.0, "figures": {
                "device": "cuda", "faiss": "1.15.1", "rows": [{
                    "number": 12_936, "dim": 2048, "knn_cpu": {"seconds": 1, "peak_bytes": None},
                    "knn_torch": knn, "knn_faiss": None, "graph_torch": knn | {"same": False},
                    "graph_numba": {"seconds": 1, "peak_bytes": None}}]}},
            "tests": {"status": "exit status 1", "seconds": 9.0,
                      "figures": {"passed": 17, "skipped": 0, "failed": ["tests.a.test_b"]}},
            "images": {"status": "stopped after 45 s", "seconds": 45.0, "figures": None},
        },
    }  # fmt: skip


def test_the_page_holds_the_tables_of_the_measured_file_or_says_that_there_is_none(scripts):
    tables, page = scripts["tables"], PAGE.read_text()
    measured = FOLDER / "gpu_check.json"
    found = json.loads(measured.read_text()) if measured.exists() else None
    assert tables.replaced(page, tables.rendered(found)) == page
    if found is None:
        assert "No GPU has been measured" in page
    else:
        assert not found["dry"]


def test_each_target_stands_beside_its_measurement(scripts, result):
    text = scripts["tables"].rendered(result)
    rows = [line for line in text.splitlines() if "| at " in line]
    assert [row.split("|")[2].strip() for row in rows] == [
        "0.90", "0.90", "0.54", "0.55", "600", "10.0%", "29.2",
    ]  # fmt: skip
    assert [row.split("|")[4].strip() for row in rows] == [
        "met", "met", "**not met**", "**not met**", "met", "met", "**not met**",
    ]  # fmt: skip
    assert [row.split("|")[3].strip() for row in rows][4:] == [
        "at least 562", "at most 15.0%", "at most 25.0",
    ]  # fmt: skip
    assert "not in this build of faiss" in text
    assert "**not the same**" in text
    assert "17 passed, 1 failed (tests.a.test_b)" in text
    assert "Decoding and augmentation: no figures: stopped after 45 s." in text


def test_what_was_not_measured_has_its_row_all_the_same(scripts, result):
    full = scripts["tables"].targets(result["parts"])
    empty = scripts["tables"].targets({"vit": {"status": "exit status 1", "figures": None}})
    assert len(empty) == len(full)
    assert all("not measured" in row for row in empty[2:])
    text = scripts["tables"].rendered(result | {"parts": {}})
    assert text.count("not run") == 6


def test_only_what_is_between_the_markers_changes(scripts, tmp_path):
    tables, page = scripts["tables"], tmp_path / "page.md"
    page.write_text(f"a\n{tables.BEGIN}\nold\n{tables.END}\nz\n")
    page.write_text(tables.replaced(page.read_text(), "new"))
    assert page.read_text() == f"a\n{tables.BEGIN}\nnew\n{tables.END}\nz\n"
    with pytest.raises(ValueError, match="has no <!-- GPU"):
        tables.replaced("a", "new")


def test_a_part_that_hangs_or_fails_keeps_what_it_had_written(scripts, tmp_path):
    check = scripts["check"]
    hangs = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text('[1]'); time.sleep(60)"
    found = check.run(
        check.Part("slow", 9, ["-c", hangs, str(tmp_path / "slow.json")]), tmp_path, 1
    )
    assert (found["status"], found["figures"]) == ("stopped after 1 s", [1])
    assert found["seconds"] < 20
    found = check.run(check.Part("bad", 9, ["-c", "raise SystemExit('no memory')"]), tmp_path, 9)
    assert (found["status"], found["figures"]) == ("exit status 1", None)
    assert "no memory" in found["log"]


def test_the_results_of_pytest_are_counted(scripts, tmp_path):
    path = tmp_path / "tests.xml"
    path.write_text(
        '<testsuites><testsuite tests="4" skipped="1"><testcase classname="a" name="b"/>'
        '<testcase classname="a" name="c"><failure/></testcase><testcase classname="a" name="d">'
        '<skipped/></testcase><testcase classname="a" name="e"/></testsuite></testsuites>'
    )
    assert scripts["check"].outcomes(path) == {"passed": 2, "skipped": 1, "failed": ["a.c"]}


@pytest.mark.parametrize("dry", [False, True])
def test_the_parts_run_scripts_that_exist_and_all_tests_of_a_gpu_in_time(scripts, tmp_path, dry):
    check = scripts["check"]
    parts = check.parts(tmp_path, dry)
    for part in parts:
        if part.name != "tests":
            assert (check.ROOT / part.arguments[0]).is_file()
            assert ("cuda" in part.arguments) is not dry
    assert check.LIMIT + 30 <= 8 * 60
    assert sum(part.seconds for part in parts) <= check.LIMIT + 20
    files = [word for part in parts for word in part.arguments if word.startswith("tests/test_")]
    assert files == ["tests/test_augmentation.py"] if dry else len(files) >= 7


def test_what_a_machine_lacks(scripts, tmp_path):
    wheels = scripts["wheels"]
    there = wheels.names_in("torch==2.11.0\nTorchVision==0.26\nnumpy @ file:///x\nfaiss_gpu==1\n\n")
    assert there == {"torch", "torchvision", "numpy", "faiss-gpu"}
    lacks = wheels.lacking(there)
    assert "hydra-core" in lacks
    assert not {"torch", "numpy", "faiss-cpu", "wandb"} & set(lacks)
    assert set(lacks) <= wheels.pins().keys()
    assert set(wheels.lacking(None)) <= wheels.pins().keys()
    wheel = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("a.py", "")
        archive.writestr("a-1.dist-info/METADATA", "Name: a\nRequires-Dist: numpy>=1\nRequires-Dist"
                         ": b\nRequires-Dist: c; extra == 'c'\nRequires-Dist: d; python_version"
                         " < '3.12'\n")  # fmt: skip
    assert wheels.missing_requirements(wheel, {"numpy"}, "3.12") == ["b"]
    assert wheels.missing_requirements(wheel, {"numpy", "b"}, "3.11") == ["d"]
    assert wheels.imported(wheel, "a") == "imported"
    assert "FAILED" in wheels.imported(wheel, "absent")
    assert "for another Python" in wheels.imported(Path("a-1-cp27-cp27m-win32.whl"), "a")


@pytest.mark.slow
def test_a_dry_run_ends_with_every_part_and_its_tables(scripts, tmp_path):
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(
        ["bash", FOLDER / "run.sh", "--dry", "--output", tmp_path, "--limit", "500"],
        check=False, capture_output=True, text=True, env=own | {"PYTHON": sys.executable},
    )  # fmt: skip
    result = json.loads((tmp_path / "gpu_check.json").read_text())
    logs = {name: part.get("log") for name, part in result["parts"].items()}
    assert run.returncode == 0, (run.stdout, run.stderr, logs)
    assert run.stdout.splitlines()[-1].startswith("6 of 6 parts done; ")
    assert len(result["parts"]["resnet"]["figures"]["ways"]) == 4
    text = scripts["tables"].rendered(result)
    assert "a dry run on the CPU: these figures say nothing" in text
    assert "not measured" not in text
    assert "no figures" not in text
    assert "not run" not in text
