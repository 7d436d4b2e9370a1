"""results.json: what a run achieved, derived from its metrics table."""

import platform
import resource
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from dccc_lightning import __version__
from dccc_lightning.reports.metrics_table import Row

SCORES = ("mAP", "mINP", "rank1", "rank5", "rank10")
SCORE_NAMES = {
    "mAP": "mAP",
    "mAP_oxford": "oxford",
    "mINP": "mINP",
    "rank1": "rank-1",
    "rank5": "rank-5",
    "rank10": "rank-10",
}
"""Names of scores in tables and pages."""

CAMERA_CENTERED = "camera-centred at test time"
"""Note beside scores that use statistics of the test images."""


def noted(title: str, note: str | None) -> str:
    """Return a title with a note, if there is one.

    >>> noted("per cent", CAMERA_CENTERED), noted("per cent", None)
    ('per cent, camera-centred at test time', 'per cent')
    """
    return f"{title}, {note}" if note else title


def scale(results: Mapping[str, Any], unit: str) -> str:
    """Return the heading of a table of a run's scores, which names the protocol.

    >>> scale({"protocol": "leave_one_out"}, "per cent")
    'test split, protocol leave_one_out, per cent'
    """
    protocol = results.get("protocol", "market1501")
    return noted(f"test split, protocol {protocol}, {unit}", results.get("note"))


def cell(scores: Mapping[str, Any], score: str) -> str:
    """Format a score in per cent, with its deviation or interval; empty if missing.

    >>> cell({"mAP": 57.125, "mAP_std": 0.41, "rank1": 80.0}, "mAP"), cell({}, "mAP")
    ('57.1 ± 0.4', '')
    >>> cell({"mAP": 57.125, "mAP_low": 50.0, "mAP_high": 61.0}, "mAP")
    '57.1 (50.0-61.0)'
    """
    if score not in scores:
        return ""
    deviation = f" ± {scores[f'{score}_std']:.1f}" if f"{score}_std" in scores else ""
    if f"{score}_low" in scores:
        deviation += f" ({scores[f'{score}_low']:.1f}-{scores[f'{score}_high']:.1f})"
    return f"{scores[score]:.1f}{deviation}"


_CLUSTERS = "cluster/num_clusters"
_NETWORKS = {"student": "val", "teacher": "val_teacher"}


def summarize_run(
    rows: Sequence[Row],
    seed: int,
    seconds: float,
    published: Mapping[str, float] | None = None,
    camera_center: bool = False,
    protocol: str = "market1501",
) -> dict[str, Any]:
    """Derive the results of a run; scores in per cent.

    Args:
        rows: Of metrics.csv, in the order of epochs.
        seed: Of the run.
        seconds: Wall time of the run.
        published: The paper's row for the dataset, in per cent, if there is one.
        camera_center: Whether the evaluation centred by camera: a ``note`` says so, and there is
            nothing to compare with what was published.
        protocol: Evaluation protocol of the run.

    Returns:
        ``initial`` (before training), ``student`` and ``teacher`` (of the last epoch; the teacher
        is None where the loss needs none), ``best`` (the better of the two over all epochs),
        ``clusters`` and ``eps`` by epoch, seed, seconds, peak memory, versions, and if there are
        scores the ``protocol``; with ``published``, that row and the distance of the better
        network of the last epoch from it.
    """
    trained = [row for row in rows if row["epoch"] >= 0]
    evaluated = [row for row in trained if "val/mAP" in row]
    results: dict[str, Any] = {
        "initial": next((_scores(row, "val") for row in rows if row["epoch"] < 0), None),
        **{
            network: _scores(evaluated[-1], prefix) if evaluated else None
            for network, prefix in _NETWORKS.items()
        },
        "best": _best(evaluated),
        "clusters": [int(row[_CLUSTERS]) for row in trained if _CLUSTERS in row],
        "eps": [row["cluster/eps"] for row in trained if "cluster/eps" in row],
        "epochs": len(trained),
        "seconds": round(seconds, 1),
        "seed": seed,
        "peak_memory_mib": peak_memory(),
        "versions": versions(),
    }
    if evaluated or results["initial"]:
        results["protocol"] = protocol
    if camera_center and "protocol" in results:
        results["note"] = CAMERA_CENTERED
    elif published is not None and evaluated:
        headline = max(
            (results[n] for n in _NETWORKS if results[n] is not None), key=lambda s: s["mAP"]
        )
        results["published"] = dict(published)
        results["difference"] = {k: round(headline[k] - v, 2) for k, v in published.items()}
    return results


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    return {
        "dccc_lightning": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "pytorch-lightning")},
    }


def peak_memory() -> dict[str, int]:
    """Return the peak memory of this process in MiB, and of its GPU where it has used one."""
    import torch  # noqa: PLC0415  (reports are read without it)

    peaks = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}  # in KiB
    if torch.cuda.is_available():
        peaks["gpu"] = torch.cuda.max_memory_allocated() >> 20
    return peaks


def _scores(row: Row, prefix: str) -> dict[str, float] | None:
    if f"{prefix}/mAP" not in row:
        return None
    names = [*SCORES, *(f"{name}_std" for name in SCORES), "mAP_low", "mAP_high"]
    keys = {name: f"{prefix}/{name}" for name in names}
    return {name: round(100 * row[key], 4) for name, key in keys.items() if key in row}


def _best(evaluated: Sequence[Row]) -> dict[str, Any] | None:
    candidates = [
        (row[f"{prefix}/mAP"], -row["epoch"], network, row)
        for row in evaluated
        for network, prefix in _NETWORKS.items()
        if f"{prefix}/mAP" in row
    ]
    if not candidates:
        return None
    _, _, network, row = max(candidates, key=lambda c: c[:2])
    return {
        "network": network,
        "epoch": int(row["epoch"]),
        "selected_on": "test split",
        **(_scores(row, _NETWORKS[network]) or {}),
    }
