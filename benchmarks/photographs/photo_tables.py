"""The tables of the study of photographs, from the runs that have ended."""

import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from photo_plan import LABELS, ROWS, Job, plan
from photo_scores import RESAMPLES, WAYS
from photo_sets import SETS

from dccc_lightning.common.files import write_atomically
from dccc_lightning.metrics.mean_interval import mean_interval

MARK = "<!-- Written by `python benchmarks/photographs tables`, to the end of the file. -->\n"

Rows = Mapping[Job, dict[str, Any]]


def status(rows: Rows) -> str:
    """Say in a line how many runs have ended, and which is next."""
    missing = [job.name for job in plan() if job not in rows]
    return f"{len(rows)} of {len(plan())} runs have ended; next: {(missing or ['none'])[0]}"


def tables(rows: Rows, before: str = "") -> str:
    """Return a table of each fold of each set.

    Args:
        rows: Results of the runs.
        before: Earlier tables, whose lines stay where runs that they are of are missing.
    """
    sections = re.split(r"^### (.+)\n", before, flags=re.MULTILINE)
    earlier = dict(zip(sections[1::2], sections[2::2], strict=True))
    parts = []
    for name, photo_set in SETS.items():
        for fold in photo_set.folds:
            mine = {job: row for job, row in rows.items() if job[:2] == (name, fold)}
            title = photo_set.title if fold == "test" else f"{photo_set.title}: fold {fold}"
            scores, mark, rest = earlier.get(title, "").strip().partition("\n\n#### ")
            if scored := {job: row for job, row in mine.items() if job.case != LABELS}:
                scores = table(scored, scores)
            parts += [f"### {title}", scores] if scores else []
            found = [row for job, row in mine.items() if job.case == LABELS]
            parts += [mark.strip() + " " + rest] if mark and not found else []
            for row in found:
                parts += [f"#### Pseudo labels without training: fold {fold}", labels(row)]
                parts += [samples(row)] if row["samples"] else []
    return "\n\n".join(parts) + "\n"


def labels(row: Mapping[str, Any]) -> str:
    """Return the agreement of the labels of the untrained network with the identities."""
    found = row["labels"]
    rules = list(dict.fromkeys(entry["rule"] for entry in found))
    lines = [
        f"{row['train']} images; adjusted Rand index, eps, and the largest cluster's share.",
        "",
        "| compared, k1 | " + " | ".join(f"eps {rule}" for rule in rules) + " |",
        "| --- " * (1 + len(rules)) + "|",
    ]
    for way, k1 in dict.fromkeys((entry["way"], entry["k1"]) for entry in found):
        mine = {e["rule"]: e for e in found if (e["way"], e["k1"]) == (way, k1)}
        cells = [f"{e['ari']:.2f} ({e['eps']:.2f}, {e['largest']:.0%})" for e in mine.values()]
        lines.append(f"| {way}, {k1} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def samples(row: Mapping[str, Any]) -> str:
    """Return the agreement of the labels of samples, by k1, at eps 0.60 and at the best eps."""
    sizes = list(dict.fromkeys(entry[1] for entry in row["samples"]))
    lines = [
        "Samples of these images, compared plainly; at eps 0.60, and at the best eps.",
        "",
        "| images | " + " | ".join(f"k1 {k1}" for k1 in sizes) + " |",
        "| --- " * (1 + len(sizes)) + "|",
    ]
    for size in dict.fromkeys(entry[0] for entry in row["samples"]):
        mine = {k1: f"{at:.2f}, {best:.2f}" for n, k1, at, best in row["samples"] if n == size}
        lines.append(f"| {size:,} | " + " | ".join(mine.get(k1, "") for k1 in sizes) + " |")
    return "\n".join(lines)


def table(rows: Rows, before: str = "") -> str:
    """Return the cases of a fold: mAP by each way of comparing, and its gain over untrained."""
    earlier = {line.split(" | ")[0][2:]: line for line in before.splitlines() if "|" in line}
    photo_set = next(iter(rows)).photo_set
    source = next((row for job, row in rows.items() if job.case == "source"), None)
    first = next(iter(rows.values()))
    people = len(first["scores"]["plain"])
    trained = max(row["train"] for row in rows.values())
    training = f"{trained} in training" if trained else "no training"
    lines = [
        f"{people} identities and {first['test']} images in the test, {training}.",
        "",
        "| | seeds | plain | mean of turns | aligned | gain, same way: plain | aligned | ARI |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, described in ROWS[photo_set].items():
        mine = [row for job, row in rows.items() if job.case == case]
        line = earlier.get(described.title)
        if line and len(mine) < int(line.split(" | ")[1] or 1):
            lines.append(line)
            continue
        if not mine:
            continue
        cells = [scored(mine, way, case == "source") for way in WAYS]
        gains = ["", ""]
        if source is not None and case != "source":
            gains = [gained(mine, source, way) for way in ("plain", "aligned")]
        found = [row["clusters"]["ari"] for row in mine if "ari" in row["clusters"]]
        ari = f"{statistics.fmean(found):.2f}" if found else ""
        seeds = "" if case == "source" else str(len(mine))
        lines.append("| " + " | ".join([described.title, seeds, *cells, *gains, ari]) + " |")
    return "\n".join(lines)


def scored(rows: list[dict[str, Any]], way: str, with_interval: bool) -> str:
    """Return mAP in per cent: mean and deviation over seeds, or its interval over identities."""
    values = [100 * statistics.fmean(row["scores"][way]) for row in rows]
    text = f"{statistics.fmean(values):.1f}"
    if with_interval:
        low, high = mean_interval(average(rows, way), RESAMPLES)
        return f"{text} ({100 * low:.1f} to {100 * high:.1f})"
    return f"{text} ± {statistics.stdev(values):.1f}" if len(values) > 1 else text


def average(rows: list[dict[str, Any]], way: str) -> NDArray[np.float64]:
    """Return the precision of the identities, averaged over runs."""
    return np.mean([row["scores"][way] for row in rows], axis=0)


def gained(rows: list[dict[str, Any]], source: dict[str, Any], way: str) -> str:
    """Return the gain over the untrained network, compared the same way, with its interval."""
    change = 100 * (average(rows, way) - average([source], way))
    low, high = mean_interval(change, RESAMPLES)
    return f"{change.mean():+.1f} ({low:+.1f} to {high:+.1f})"


def write_tables(page: Path, rows: Rows) -> None:
    """Replace the end of a page, from the mark on."""
    prose, _, before = page.read_text().partition(MARK)
    write_atomically(page, (prose + MARK + "\n" + tables(rows, before)).encode())
