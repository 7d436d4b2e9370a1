"""Time to the help, to the answer of a mistake, and of imports, beside another commit.

``python benchmarks/startup.py --base COMMIT`` measures both in turns; the smallest of several runs
counts, so that other programs on the machine have little say. ``--busy`` measures processor time.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parents[1]
IMPORT = "from dccc_lightning import load_embedder"
ANSWERS = (
    ("--help",),
    ("dataset=msmt17", "dataset.root=."),
    ("scheduler.start=2",),
    ("task=index", "index=nowhere", "remove=[1,2]"),
    ("task=embed", "ckpt=nowhere.ckpt", "input=train"),
)
WITHIN_SECONDS = 3.0
WITHIN_RATIO = 1.3
BEFORE = "2b50a36"
"""The last commit that imported torch before it looked at the settings."""


def seconds(tree: Path, busy: bool, *words: str) -> float:
    """Time one start of Python with the package of a checkout; ``busy``: processor time."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    with TemporaryDirectory() as folder:
        start, used = time.perf_counter(), processor_time()
        subprocess.run(
            [sys.executable, *words], env=environment, cwd=folder, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return processor_time() - used if busy else time.perf_counter() - start


def processor_time() -> float:
    """Return the seconds of processor time of the processes that ended."""
    return sum(os.times()[2:4])


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Check a commit out into a worktree of its own."""
    with TemporaryDirectory() as folder:
        tree = Path(folder) / "base"
        subprocess.run(["git", "-C", HERE, "worktree", "add", "--quiet", "--detach", tree, commit],
                       check=True)  # fmt: skip
        try:
            yield tree
        finally:
            subprocess.run(["git", "-C", HERE, "worktree", "remove", "--force", tree], check=True)


def compare(base: Path | None, repeats: int, busy: bool) -> bool:
    """Print a row for each command; return whether all limits hold."""
    starts = {"import torch": ("-c", "import torch"), IMPORT: ("-c", IMPORT)}
    starts |= {" ".join(m): ("-m", "dccc_lightning", *m, "output=run") for m in ANSWERS}
    best: dict[str, float] = {}
    before: dict[str, float] = {}
    for _ in range(repeats):  # in turns: a busy minute meets all of them
        for name, words in starts.items():
            best[name] = min(best.get(name, float("inf")), seconds(HERE, busy, *words))
            if base is not None:
                before[name] = min(before.get(name, float("inf")), seconds(base, busy, *words))
    print(f"{'':60}  now      base")
    for name, now in best.items():
        told = f"{before[name]:6.2f} s" if base is not None else ""
        print(f"{name:60}  {now:5.2f} s  {told}")
    ratio = best[IMPORT] / best["import torch"]
    slowest = max(best[" ".join(mistake)] for mistake in ANSWERS)
    print(f"load_embedder / torch: {ratio:.2f} (at most {WITHIN_RATIO})", end="")
    print(f", base {before[IMPORT] / before['import torch']:.2f}" if base is not None else "")
    print(f"slowest answer: {slowest:.2f} s (at most {WITHIN_SECONDS:.0f})")
    return ratio <= WITHIN_RATIO and slowest <= WITHIN_SECONDS


def main() -> None:
    """Measure, and end with 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default=BEFORE, help="commit to compare with, if git knows it")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--busy", action="store_true", help="measure processor time")
    options = parser.parse_args()
    known = subprocess.run(["git", "-C", HERE, "cat-file", "-e", f"{options.base}^{{commit}}"],
                           check=False, stderr=subprocess.DEVNULL)  # fmt: skip
    if known.returncode:
        print(f"no commit {options.base} here: nothing to compare with")
        sys.exit(not compare(None, options.repeats, options.busy))
    with checkout(options.base) as base:
        sys.exit(not compare(base, options.repeats, options.busy))


if __name__ == "__main__":
    main()
