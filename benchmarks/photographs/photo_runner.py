"""Make the runs that are missing in a folder, one after the other, each in a fork."""

import csv
import fcntl
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from photo_labels import label_rows, sample_rows
from photo_plan import LABEL_SETTINGS, LABELS, SHARED, TRUE, Job, plan
from photo_scores import embedded, scores
from photo_sets import SETS, Fold, fold_of, photos

from dccc_lightning import cli, load_embedder
from dccc_lightning.common.files import write_atomically, write_json
from dccc_lightning.config.build import build_plain
from dccc_lightning.reports.metrics_table import read_rows

RESULTS = Path(__file__).with_name("results.jsonl")
"""Rows of earlier runs, one a line."""

SHOWN = ("ari", "num_clusters", "largest", "outlier_ratio", "pair_precision", "eps")
"""Columns of the last clustering to keep."""


def run(folder: Path, data: Mapping[str, Path], weights: str, only: Sequence[str]) -> int:
    """Make the runs that are missing, of the sets in ``data``; return how many failed.

    ``only`` has beginnings of their names, in the order in which they are to be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    planned = [job for job in plan() if job.photo_set in data]
    jobs = [job for name in only for job in planned if job.name.startswith(name)]
    failed = 0
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        commit()
        for job in jobs:
            if job in finished(folder):
                continue
            started = time.perf_counter()
            process = multiprocessing.get_context("fork").Process(
                target=execute, args=(job, folder, data[job.photo_set].resolve(), weights)
            )
            process.start()
            process.join()
            failed += process.exitcode != 0
            print(
                f"{job.name}: {'row' if process.exitcode == 0 else 'FAILED'} "
                f"after {time.perf_counter() - started:.0f} s",
                flush=True,
            )
    return failed


def row_file(folder: Path, job: Job) -> Path:
    """Return where the row of a run is, once it has ended."""
    return folder / "rows" / f"{job.name}.json"


def execute(job: Job, folder: Path, root: Path, weights: str) -> None:
    """Train, if the case does, and write the row; all that is printed goes to the log."""
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "rows").mkdir(exist_ok=True)
    with (folder / "logs" / f"{job.name}.txt").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    fold = fold_of(job.fold, photos(SETS[job.photo_set], root))
    settings = [*shared(job, root, weights), f"seed={job.seed}"]
    figures: dict[str, Any] = {}
    if job.case == LABELS:
        turned = embedded(untrained(settings), [str(root / image.path) for image in fold.train])
        names = [image.identity for image in fold.train]
        sizes, least = LABEL_SETTINGS[job.photo_set]
        found = {
            "labels": label_rows(turned, names, sizes, least),
            "samples": sample_rows(turned, names, least) if job.photo_set == "opencows" else [],
        }
        write_json(row_file(folder, job), about(job, fold) | found)
        return
    if job.changes is None:
        embedder = untrained(settings)
    else:
        output = folder / "runs" / job.name
        shutil.rmtree(output, ignore_errors=True)
        table = write_table(folder, job, fold)
        train([*settings, *job.changes, *labels(job, fold), f"dataset.table='{table}'"], output)
        figures = clusters(output)
        embedder = load_embedder(output / "checkpoints" / "last.ckpt", network="student")
    turned = embedded(embedder, [str(root / image.path) for image in fold.test])
    identities = [image.identity for image in fold.test]
    found = {"clusters": figures, "scores": scores(turned, identities)}
    write_json(row_file(folder, job), about(job, fold) | found)


def about(job: Job, fold: Fold) -> dict[str, Any]:
    """Return what every row has."""
    return {
        "job": job._asdict(),
        "commit": commit(),
        "processor_seconds": round(time.process_time()),
        "train": len(fold.train),
        "test": len(fold.test),
    }


def shared(job: Job, root: Path, weights: str) -> list[str]:
    """Return the settings of all runs of a set."""
    chosen = SETS[job.photo_set]
    size = [f"image.height={chosen.height}", f"image.width={chosen.width}"]
    return [*SHARED, *size, f"model.weights='{weights}'", f"dataset.root='{root}'"]


def labels(job: Job, fold: Fold) -> list[str]:
    """Return the identities as a setting, for the ceiling."""
    if not set(TRUE) <= set(job.changes or ()):
        return []
    order = sorted(fold.train)
    names = sorted({image.identity for image in order})
    numbers = [names.index(image.identity) for image in order]
    return [f"+clustering.identities={numbers}".replace(" ", "")]


def write_table(folder: Path, job: Job, fold: Fold) -> Path:
    """Write the table of the training images; the command learns nothing of the test."""
    path = folder / "tables" / f"{job.photo_set}-{job.fold}.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "identity", "camera", "split"))
        writer.writerows((*image, "train") for image in sorted(fold.train))
    return path.resolve()


def train(arguments: list[str], output: Path) -> None:
    """Be the command line of a training."""
    place = [f"hydra.run.dir='{output.resolve()}'", f"output='{output.resolve()}'"]
    sys.argv = ["dccc_lightning", *arguments, *place]
    cli.main()


def untrained(arguments: list[str]) -> object:
    """Return the network before any training."""
    with initialize_config_dir(str(cli.conf_dir()), version_base="1.3"):
        config = compose("train", arguments)
    groups = ("image", "model", "embedding")
    return build_plain({g: OmegaConf.to_container(config[g], resolve=True) for g in groups}, "cpu")


def clusters(output: Path) -> dict[str, float]:
    """Return what is kept of the last clustering."""
    last = read_rows(output / "metrics.csv")[-1]
    return {name: float(last[key]) for name in SHOWN if (key := f"cluster/{name}") in last}


@cache
def commit() -> str:
    """Return the version of this code, by git, when it was first asked."""
    git = ["git", "-C", str(Path(__file__).parents[2])]
    asked = (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", "src", "conf"])
    version, changed = (
        subprocess.run([*git, *words], capture_output=True, text=True, check=False).stdout.strip()
        for words in asked
    )
    return f"{version}-dirty" if changed else version or "unknown"


def finished(folder: Path) -> dict[Job, dict[str, Any]]:
    """Return the rows of the runs that have ended, in ``RESULTS`` and in a folder."""
    rows = {}
    for text in (*RESULTS.read_text().splitlines(), *map(Path.read_text, folder.glob("rows/*"))):
        row = json.loads(text, parse_float=lambda digits: round(float(digits), 4))
        rows[Job(**row["job"])] = row
    return {job: rows[job] for job in plan() if job in rows}


def keep(rows: Mapping[Job, dict[str, Any]]) -> None:
    """Write ``RESULTS``."""
    lines = (json.dumps(row, separators=(",", ":")) + "\n" for row in rows.values())
    write_atomically(RESULTS, "".join(lines).encode())
