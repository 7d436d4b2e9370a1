"""SIGKILL at random moments: a run that is killed and resumed ends as one that was not.

    python benchmarks/torture FOLDER --kills 100 --seed 1

Tiny runs with one and with two processes are killed after the first row of metrics.csv, in every
phase of an epoch, and resumed in the documented ways, several times each, until they end. Then
metrics.csv, clusters, queries, results and checkpoints (tensor by tensor) must be those of an
uninterrupted run, and nothing half-written may be left. FOLDER/kills.jsonl has every kill with
its seed and moment; a second call with another seed adds to it. The folder of a failure is kept.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import torture_rank
from torture_life import Torture

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
KILLS_A_LIFE = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs/torture"))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e6, help="no kill after these")
    parser.add_argument("--processes", type=int, choices=(1, 2), help="instead of both in turn")
    arguments = parser.parse_args()
    if ONE_THREAD.items() - os.environ.items():  # libraries read these when they are loaded
        os.execve(sys.executable, sys.orig_argv, os.environ | ONE_THREAD)
    until = time.monotonic() + 60 * arguments.minutes
    torture_rank.warm_up()
    torture = Torture(arguments.folder.resolve(), arguments.seed, until)
    numbers = [arguments.processes] if arguments.processes else [1, 2]
    for number in numbers:
        torture.whole(number)
    done = life = 0
    while done < arguments.kills and time.monotonic() < until:
        processes = numbers[life % len(numbers)]
        for kill in torture.live(life, processes, min(KILLS_A_LIFE, arguments.kills - done)):
            done += 1
            print(
                f"kill {done}: life {kill.life}, {kill.processes} process(es), {kill.whom} in "
                f"{' and '.join(kill.phases)} after {kill.seconds} s, {kill.resumed}: "
                f"{kill.faults or 'the same'}",
                flush=True,
            )
        life += 1
    kills = [json.loads(line) for line in torture.record.read_text().splitlines()]
    print(summary(kills))
    return any(kill["faults"] for kill in kills)


def summary(kills: list[dict]) -> str:
    """Return how many kills fell where, and how many lives failed."""
    columns = list(dict.fromkeys((kill["processes"], kill["whom"]) for kill in kills))
    counts = Counter((kill["phases"][0], kill["processes"], kill["whom"]) for kill in kills)
    lines = ["phase of rank 0 | " + " | ".join(f"{n}: {whom}" for n, whom in columns)]
    for phase in dict.fromkeys(kill["phases"][0] for kill in kills):
        lines.append(f"{phase} | " + " | ".join(str(counts[phase, *c]) for c in columns))
    lives = {(kill["seed"], kill["life"]): kill["faults"] for kill in kills}
    failed = [f"life_{seed}_{life}: {fault}" for (seed, life), fault in lives.items() if fault]
    lines.append(f"{len(kills)} kills in {len(lives)} lives, {len(failed)} failed")
    return "\n".join([*lines, *failed])


if __name__ == "__main__":
    sys.exit(main())
