"""What a run that was killed and resumed must have in common with one that was not."""

import json
from pathlib import Path
from typing import Any

import torch

from dccc_lightning.reports.metrics_table import read_rows

SAME_BYTES = ("metrics.csv", "clusters.csv", "clusters.parquet", "queries.parquet")
THERE = ("report.html", "clusters.html", "curves.png", "run.log", "config.yaml")
CHECKPOINTS = ("last.ckpt", "best.ckpt")
COMPARED = ("epoch", "global_step", "state_dict", "optimizer_states", "ReIDDataModule")


def differences(whole: Path, killed: Path) -> list[str]:
    """Return in which ways the folder of a killed run is not that of the other."""
    found = [f"{name} is missing" for name in THERE if not (killed / name).is_file()]
    for name in SAME_BYTES:
        one, other = whole / name, killed / name
        if not other.is_file() or one.read_bytes() != other.read_bytes():
            found.append(f"{name} differs")
    for name in CHECKPOINTS:
        contents = [
            torch.load(folder / "checkpoints" / name, weights_only=True)
            for folder in (whole, killed)
        ]
        for key in COMPARED:
            found += [f"{name}: {place}" for place in unequal(*(c[key] for c in contents), key)]
    results = [json.loads((f / "results.json").read_text()) for f in (whole, killed)]
    for result in results:
        for of_the_last_process in ("seconds", "peak_memory_mib"):
            result.pop(of_the_last_process)
    found += [f"results.json: {place}" for place in unequal(*results, "results")]
    times = [row["epoch"] for row in read_rows(killed / "timings.csv")]
    if times != [row["epoch"] for row in read_rows(killed / "metrics.csv")]:
        found.append(f"timings.csv has the epochs {times}")
    return found + half_written(killed)


def half_written(run: Path) -> list[str]:
    """Return the temporary files in a run's folder, and the error of a run that ended well."""
    hidden = [p for p in run.rglob(".*") if p.name != ".hydra"]
    return [f"{p.relative_to(run)} is left" for p in (*hidden, *run.glob("error.txt"))]


def unequal(one: Any, other: Any, place: str) -> list[str]:
    """Return the places in which two nested values differ; tensors in a bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [place]
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return [f"{place}: keys {sorted(map(str, one.keys() ^ other.keys()))}"]
        return [p for key in one for p in unequal(one[key], other[key], f"{place}.{key}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return [f"{place}: {len(one)} and {len(other)} entries"]
        pairs = zip(one, other, strict=True)
        return [p for n, pair in enumerate(pairs) for p in unequal(*pair, f"{place}.{n}")]
    return [] if one == other else [f"{place}: {one!r} and {other!r}"]
