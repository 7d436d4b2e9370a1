"""Run one command of this package and of an older commit side by side, and print the ratios.

    python benchmarks/against.py BASE [--rounds 3] task=embed ckpt=bundled input=FOLDER

BASE is checked out into a temporary folder. Both run ``python -m dccc_lightning ARGUMENTS`` by
turns, each into an empty folder of its own; time, processor time and peak memory are those of the
processes. A first round compiles kernels, the median of the others counts. Run it alone on the
machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ("wall s", "processor s", "of it kernel s", "peak MB")


def measured(source: Path, arguments: list[str]) -> tuple[float, ...]:
    """Run the package in ``source`` and return ``FIGURES``."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dccc_lightning", *arguments, f"output={folder}/output"]
        environment = os.environ | {"PYTHONPATH": str(source / "src")}
        printed = (os.POSIX_SPAWN_OPEN, 1, f"{folder}/out", os.O_WRONLY | os.O_CREAT, 0o600)
        start = time.perf_counter()
        pid = os.posix_spawn(sys.executable, command, environment, file_actions=[printed])
        _, status, usage = os.wait4(pid, 0)
        if status:
            raise SystemExit(f"{source}: exit status {os.waitstatus_to_exitcode(status)}")
        wall = time.perf_counter() - start
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Check out the base, run both by turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base")
    parser.add_argument("--rounds", type=int, default=3)
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(base), options.base], check=True)
        try:
            rounds = [
                (measured(base, arguments), measured(ROOT, arguments))
                for _ in range(options.rounds + 1)
            ][1:]
        finally:
            subprocess.run([*git, "remove", "--force", str(base)], check=True)
    print(f"{'':16}{options.base[:12]:>14}{'this tree':>14}{'ratio':>8}")
    for at, name in enumerate(FIGURES):
        before, after = (median(each[side][at] for each in rounds) for side in (0, 1))
        print(f"{name:16}{before:14.1f}{after:14.1f}{after / max(before, 1e-9):8.2f}")


if __name__ == "__main__":
    main()
