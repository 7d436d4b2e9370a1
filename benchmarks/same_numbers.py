"""Compare the numbers of this working tree with those of another commit.

    python benchmarks/same_numbers.py main
    python benchmarks/same_numbers.py 2b50a36 --only default gallery

Each side makes the same runs with seed 0, three epochs and ``trainer.deterministic=true``: the
default run, ``experiment=dccc_plus``, one in two processes, and one that a signal stops after its
first epoch and that is resumed. Of each, metrics.csv is compared as text (ARI and NMI within 1e-12)
and the weights of last.ckpt tensor by tensor; the bundled network then indexes a gallery, whose
answers are compared. The commit's side is made once and kept in ``--record``. Exit code 1 where
anything differs. About two minutes a side on two cores.
"""

import argparse
import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
ROUNDED = {"cluster/ari", "cluster/nmi"}
"""Columns of metrics.csv that scikit-learn computes; earlier versions differ in the last digits."""

SETTINGS = ("epochs=3", "seed=0", "trainer.deterministic=true")


class Side:
    """One version of the source, and the folder that its runs go to."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source = source
        self.folder = folder

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.source),
            "OMP_NUM_THREADS": "1",
            "PYTHONSAFEPATH": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "dccc_lightning", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> None:
        process = self.start(*arguments)
        _, errors = process.communicate()
        if process.returncode:
            sys.exit(f"{self.source}: {' '.join(arguments)} ended with {errors[-2000:]}")

    def train(self, name: str, *arguments: str) -> None:
        self.run(*SETTINGS, f"output={name}", *arguments)


def resumed(side: Side) -> None:
    """Train until the first epoch is in metrics.csv, stop by a signal, and resume."""
    process = side.start(*SETTINGS, "output=resumed")
    table = side.folder / "resumed" / "metrics.csv"
    while process.poll() is None and not (table.is_file() and len(lines(table)) > 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, "the run was over before the signal came"
    side.run("resume=resumed")


def gallery(side: Side) -> None:
    """Index the gallery of the default world with the bundled network; search with its queries."""
    side.run("task=index", "ckpt=bundled", "input=gallery", "output=index")
    side.run("task=search", "ckpt=bundled", "index=index/gallery", "query=query", "output=gallery")


PARTS: dict[str, Callable[[Side], None]] = {
    "default": lambda side: side.train("default"),
    "dccc_plus": lambda side: side.train("dccc_plus", "experiment=dccc_plus"),
    "two_processes": lambda side: side.train(
        "two_processes", "trainer.accelerator=cpu", "trainer.devices=2"
    ),
    "resumed": resumed,
    "gallery": gallery,
}


def moved_columns(base: Path, ours: Path) -> list[str]:
    """Return the columns of metrics.csv that differ, those of ``ROUNDED`` by more than rounding."""
    tables = [list(csv.reader(path.open(newline=""))) for path in (base, ours)]
    if tables[0][0] != tables[1][0] or len(tables[0]) != len(tables[1]):
        return ["metrics.csv: columns or rows"]
    moved = {
        name
        for rows in zip(*tables, strict=True)
        for name, *values in zip(tables[0][0], *rows, strict=True)
        if values[0] != values[1]
        and not (
            name in ROUNDED and all(values) and math.isclose(*map(float, values), abs_tol=1e-12)
        )
    }
    return [f"metrics.csv: {', '.join(sorted(moved))}"] if moved else []


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def differences(name: str, base: Path, ours: Path) -> list[str]:
    """Return what differs between one part of two sides: columns and rows, tensors, answers."""
    if name == "gallery":
        hits = [
            json.loads((side / name / "results.json").read_text())["queries"]
            for side in (base, ours)
        ]
        return [] if hits[0] == hits[1] else ["answers"]
    found = []
    found += moved_columns(*(side / name / "metrics.csv" for side in (base, ours)))
    states = [
        torch.load(side / name / "checkpoints" / "last.ckpt", "cpu", weights_only=True)[
            "state_dict"
        ]
        for side in (base, ours)
    ]
    if states[0].keys() != states[1].keys():
        found.append(f"names of weights: {sorted(states[0].keys() ^ states[1].keys())[:3]}")
    shared = states[0].keys() & states[1].keys()
    moved = [key for key in sorted(shared) if not torch.equal(states[0][key], states[1][key])]
    return found + ([f"{len(moved)} weights, first {moved[0]}"] if moved else [])


def checked_out(base: str, folder: Path) -> Path:
    subprocess.run(
        ["git", "worktree", "add", "--quiet", "--detach", str(folder), base], cwd=ROOT, check=True
    )
    return folder / "src"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("base", nargs="?", default="HEAD", help="a commit (HEAD)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--record", type=Path, default=ROOT / "outputs" / "same_numbers")
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--verify", f"{arguments.base}^{{commit}}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    record = arguments.record.resolve() / commit
    failed = False
    with tempfile.TemporaryDirectory(prefix="same-numbers-") as temporary:
        missing = [name for name in arguments.only if not (record / f"{name}.done").exists()]
        if missing:
            checkout = Path(temporary, "base")
            try:
                base = Side(checked_out(commit, checkout), record)
                for name in missing:
                    shutil.rmtree(record / name, ignore_errors=True)
                    PARTS[name](base)
                    (record / f"{name}.done").touch()
            finally:
                subprocess.run(
                    ["git", "worktree", "remove", "--force", str(checkout)], cwd=ROOT, check=True
                )
        ours = Side(ROOT / "src", Path(temporary, "ours"))
        for name in arguments.only:
            PARTS[name](ours)
            found = differences(name, record, ours.folder)
            print(f"{name:14}", "; ".join(found) or "the same", flush=True)
            failed |= bool(found)
    sys.exit(failed)


if __name__ == "__main__":
    main()
