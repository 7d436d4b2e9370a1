"""Run the parts of the check of a GPU one by one, each in a process with a time limit.

    python benchmarks/gpu_check/check.py --output FOLDER [--dry]

``run.sh`` calls it. Each part writes a file of its own; ``gpu_check.json`` is written anew after
each, so that a failure or the end of the machine loses no other part. ``tables.py`` makes the
tables of docs/performance.md of it. ``--dry`` runs every part at tiny sizes on the CPU.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 450
"""Seconds of all parts together; eight minutes with the installation of the wheels."""

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "faiss-gpu", "faiss-cpu", "numba", "numpy",
            "pillow", "timm", "torchcodec")  # fmt: skip


class Part(NamedTuple):
    """A command of the check: its name, seconds and arguments of Python."""

    name: str
    seconds: float
    arguments: list[str]


def parts(folder: Path, dry: bool) -> list[Part]:
    """Return the parts in order, those that matter most first."""

    def script(name: str, part: str, *arguments: str) -> list[str]:
        return [f"benchmarks/{name}.py", "--json", str(folder / f"{part}.json"), *arguments]

    marked = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").glob("test_*.py")
        if "mark.gpu" in path.read_text()
    )
    tests = ["-m", "pytest", "-q", "-m", "gpu", f"--junitxml={folder / 'tests.xml'}"]
    tests += ["-p", "no:cacheprovider", *(marked[:1] if dry else marked)]
    step = ["--no-plain", "--compile"]
    if dry:
        step += ["--steps", "1", "--turns", "1", "--backend", "eager", "--precision", "bf16-mixed"]
        step += ["--clusters", "2", "--instances", "2", "--height", "64", "--width", "32"]
        trunks = "resnet10", "vit_small"
        epoch = ["--epochs", "3", "--images", "60", "iterations=2", "model.backbone=resnet10",
                 "model.width=0.5", "image.height=64", "image.width=32", "batch.clusters=2",
                 "batch.instances=2", "dataset.train_identities=12", "dataset.test_identities=2",
                 "trainer.precision=32-true"]  # fmt: skip
        kernels, images = (
            ["--sizes", "200x16"],
            ["--images", "8", "--height", "32", "--width", "16", "--turns", "1"],
        )
    else:
        cuda = ["--device", "cuda"]
        step += [*cuda, "--clusters", "16", "--instances", "16", "--steps", "30"]
        trunks = "resnet50", "vit_base"
        epoch = cuda
        kernels = [*cuda, "--sizes", "12936x2048", "32621x2048"]
        images = [*cuda, "--images", "8000"]
    return [
        Part("resnet", 95, script("train_step", "resnet", "--backbone", trunks[0], *step)),
        Part("vit", 95, script("train_step", "vit", "--backbone", trunks[1], *step)),
        Part("epoch", 110, script("epoch", "epoch", "--market", *epoch)),
        Part("kernels", 60, script("gpu_kernels", "kernels", *kernels)),
        Part("tests", 60, tests),
        Part("images", 45, script("decoding", "images", *images)),
    ]


def machine() -> dict[str, Any]:
    """Describe the machine and its packages."""
    import torch  # noqa: PLC0415  # main() reports its absence in one line

    gpu = torch.cuda.is_available()
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "gpu_memory": torch.cuda.get_device_properties(0).total_memory if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "packages": versions,
    }


def outcomes(path: Path) -> dict[str, Any]:
    """Count the results of pytest's file."""
    suite = ElementTree.parse(path).getroot().find("testsuite")
    assert suite is not None
    failed = [
        f"{case.get('classname')}.{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    return {"passed": total - skipped - len(failed), "skipped": skipped, "failed": failed}


def run(part: Part, folder: Path, seconds: float) -> dict[str, Any]:
    """Run a part for at most ``seconds`` and return its status and figures."""
    start = time.perf_counter()
    with (folder / f"{part.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *part.arguments],
            cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(max(seconds, 1))
            status = "done" if code == 0 else f"exit status {code}"
        except subprocess.TimeoutExpired:
            status = f"stopped after {seconds:.0f} s"
        finally:  # its children too, and after Ctrl-C
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    found: dict[str, Any] = {"status": status, "seconds": time.perf_counter() - start}
    try:
        written = folder / f"{part.name}.json"
        found["figures"] = (
            outcomes(folder / "tests.xml")
            if part.name == "tests"
            else json.loads(written.read_text())
        )
    except (OSError, ValueError, ElementTree.ParseError):  # it had measured nothing yet
        found["figures"] = None
    if status != "done":
        found["log"] = (folder / f"{part.name}.log").read_text(errors="replace")[-1500:]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "gpu_check")
    parser.add_argument("--dry", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of all parts")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    start, folder = time.monotonic(), options.output.resolve()
    try:
        about = machine()
    except ImportError as error:
        print(f"this Python cannot be used: {error}; PYTHON= names another one")
        return 2
    if not options.dry and about["gpu"] is None:
        print("no CUDA device here; --dry runs every part at tiny sizes on the CPU")
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"version": 1, "dry": options.dry, "machine": about, "parts": {}}
    todo = parts(folder, options.dry)

    def attempt(part: Part) -> dict[str, Any]:
        left = options.limit - (time.monotonic() - start)
        for old in folder.glob(f"{part.name}.*"):
            old.unlink()
        allowed = part.seconds * (4 if options.dry else 1)  # two busy cores, perhaps
        return run(part, folder, min(allowed, left))

    # A dry run measures nothing, so two parts may run at a time.
    results = ThreadPoolExecutor(2).map(attempt, todo) if options.dry else map(attempt, todo)
    for part, found in zip(todo, results, strict=True):
        result["parts"][part.name] = found
        print(f"{part.name:8} {found['status']} ({found['seconds']:.0f} s)", flush=True)
        (folder / "gpu_check.json").write_text(json.dumps(result, indent=1))
    failed = [name for name, found in result["parts"].items() if found["status"] != "done"]
    print(f"{len(result['parts']) - len(failed)} of {len(result['parts'])} parts done; "
          f"{folder / 'gpu_check.json'}")  # fmt: skip
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
