"""The study of photographs: untrained, baseline, DCCC and its variants on public sets.

    python benchmarks/photographs sets             # where to get the sets, and their licences
    python benchmarks/photographs run FOLDER --weights FILE --data opencows=PATH
    python benchmarks/photographs status FOLDER
    python benchmarks/photographs tables FOLDER    # results.jsonl and docs/photographs.md

No image is part of this repository, and none is downloaded. A run that has ended is a row, a file
in FOLDER/rows; start again what was stopped, and it goes on. Rows in results.jsonl are not made
again. Every run has one thread and the same budget: 120 steps of 32 images, MobileNetV2. FILE:
weights of ImageNet, as for ``model.weights``.
"""

import argparse
import os
import sys
from pathlib import Path

from photo_runner import finished, keep, run
from photo_sets import SETS
from photo_tables import status, write_tables

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("sets", "run", "status", "tables"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs/photographs"))
    parser.add_argument("--data", action="append", default=[], metavar="SET=PATH")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="beginnings of the names of the runs to make"
    )
    arguments = parser.parse_args()
    if arguments.what == "run" and ONE_THREAD.items() - os.environ.items():
        # libraries read these when they are loaded
        os.execve(sys.executable, sys.orig_argv, os.environ | ONE_THREAD)

    if arguments.what == "sets":
        for name, photo_set in SETS.items():
            print(f"{name}: {photo_set.title}\n  {photo_set.source}\n  {photo_set.licence}")
        return
    if arguments.what == "run":
        data = dict(entry.partition("=")[::2] for entry in arguments.data)
        if not data or data.keys() - SETS.keys():
            parser.error(f"--data SET=PATH, of {', '.join(SETS)}")
        paths = {name: Path(path) for name, path in data.items()}
        sys.exit(run(arguments.folder, paths, arguments.weights, arguments.only) > 0)
    rows = finished(arguments.folder)
    if arguments.what == "status":
        print(status(rows))
    else:
        keep(rows)
        write_tables(Path(__file__).parents[2] / "docs" / "photographs.md", rows)


if __name__ == "__main__":
    main()
