"""The ablation study: hundreds of runs of a minute, the most important ones first.

    python benchmarks/study run FOLDER             # what is missing; stop it, and start it again
    python benchmarks/study run FOLDER --jobs 2    # two at once, a core each
    python benchmarks/study status FOLDER
    python benchmarks/study tables FOLDER          # docs/ablation.md and .csv, of what there is

A table is a grid of conf/sweep/study on a pair of worlds; to add one, write its grid and name it
in TABLES of study_plan.py. A run has its folder, named by what differs from `sweep=study`,
so a run that several tables want is made once. Every run has one thread: the same seed gives the
same numbers, however many run at once. FOLDER is that of a sweep as well: `task=report
sweep_folder=FOLDER` shows all runs, with curves.
"""

import argparse
import os
import sys
from pathlib import Path

from study_curves import curves
from study_plan import TABLES
from study_runner import run
from study_tables import finished, status, write_tables

from dccc_lightning.common.files import write_atomically

DOCS = Path(__file__).resolve().parents[2] / "docs"
CURVES = ("tau_w", "smoothing")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "status", "tables"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    arguments = parser.parse_args()
    if arguments.what == "status":
        print(status(arguments.folder))
    elif arguments.what == "tables":
        write_tables(arguments.folder, DOCS / "ablation.md")
        wanted = [table for table in TABLES if table.grid in CURVES]
        picture = curves(wanted, finished(arguments.folder))
        if picture is not None:
            write_atomically(DOCS / "images" / "ablation_curves.png", picture)
    else:
        if ONE_THREAD.items() - os.environ.items():  # libraries read these when they are loaded
            os.execve(sys.executable, sys.orig_argv, os.environ | ONE_THREAD)
        sys.exit(run(arguments.folder, arguments.jobs) > 0)


if __name__ == "__main__":
    main()
