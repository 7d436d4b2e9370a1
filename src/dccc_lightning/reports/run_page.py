"""Page of a run: report.html, one self-contained file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dccc_lightning.common.console import counted
from dccc_lightning.common.files import write_atomically
from dccc_lightning.reports.boards.thumbnails import Thumbnails
from dccc_lightning.reports.figures.chart import Chart
from dccc_lightning.reports.figures.cluster_sizes import size_chart
from dccc_lightning.reports.figures.distance_histograms import distance_charts
from dccc_lightning.reports.figures.embedding_map import map_charts
from dccc_lightning.reports.figures.label_flow import flow_chart
from dccc_lightning.reports.figures.training_curves import eps_choices, training_curves
from dccc_lightning.reports.label_free import FIGURES, RULE
from dccc_lightning.reports.metrics_table import Row
from dccc_lightning.reports.pages import render
from dccc_lightning.reports.panels import Panel, encoded
from dccc_lightning.reports.results import SCORE_NAMES, SCORES, cell, scale

PARTS = ("embedding", "clustering", "training", "evaluation", "other")
"""Columns of timings.csv that make up ``total``."""

_CLUSTERS = ("largest", "tightest", "loosest", "mixed", "outliers")


@dataclass(frozen=True)
class Report:
    """Content of the page.

    Attributes:
        title: Of the page, such as the name of the dataset.
        name: Of the run.
        results: Of results.json.
        rows: Of metrics.csv; epoch -1 is the evaluation before training.
        timings: Of timings.csv.
        choices: Of eps_curves.jsonl, where the schedule is adaptive: epoch, criterion, candidates,
            scores.
        panels: By name, with the epoch each was made after.
        command: Repeats the run.
        differences: Settings that are not the preset's: name, the preset's value, the run's.
        environment: Code, system and hardware.
        date: Of the end of the run.
        all_clusters: Number and size of every cluster in clusters.html, the largest first.
        map_page: Address of the page of the map, if there is one.
        progress: Remark at the top, while the training runs.
        notice: Caveat of its settings, such as that they are no published benchmark.
    """

    title: str
    results: Mapping[str, Any]
    rows: Sequence[Row]
    timings: Sequence[Row] = ()
    choices: Sequence[Mapping[str, Any]] = ()
    panels: Mapping[str, tuple[Panel, int]] = field(default_factory=dict)
    command: str = ""
    differences: Sequence[tuple[str, str, str]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    notice: str | None = None
    name: str = "run"
    date: str = ""
    all_clusters: Sequence[tuple[int, int]] = ()
    map_page: str = ""
    progress: str = ""


def write_report(path: Path, report: Report) -> None:
    """Write the page, complete or not at all."""
    write_atomically(path, run_page(report).encode())


def run_page(report: Report) -> str:
    """Return the page as HTML."""
    results = report.results
    panels = {name: panel for name, (panel, _) in report.panels.items()}
    epochs = [epoch for _, epoch in report.panels.values()]
    boards = panels if "thumbnails/boards" in panels else {}
    times = _times(report.timings)
    return render(
        "run.html",
        report=report,
        title=report.title,
        summary=f"{counted(results['epochs'], 'epoch')} · {_duration(results['seconds'])} · "
        f"seed {results['seed']}",
        when=f"after epoch {max(epochs) + 1}" if epochs else "",
        scores=_scores(report) if results.get("student") else _label_free(results),
        curves=[*training_curves(report.rows), *eps_choices(report.choices)],
        map=_map(panels),
        clustering=_clustering(panels),
        clusters=[boards[key] for name in _CLUSTERS if (key := f"clusters/{name}") in boards],
        rankings=[boards["rankings"]] if "rankings" in boards else [],
        thumbnails=_thumbnails(panels),
        times=times,
        beside=results["seconds"] - sum(row["total"] for row in _trained(report.timings)),
        environment=dict(results["versions"]) | dict(report.environment),
    )


def _scores(report: Report) -> dict[str, Any]:
    """Return scores before and after: cards of the better network, and a table of all."""
    results = report.results
    before = results.get("initial") or {}
    networks = {name: results[name] for name in ("student", "teacher") if results.get(name)}
    better = max(networks, key=lambda name: networks[name]["mAP"])
    after = networks[better]
    cards = [
        _card(f"{SCORE_NAMES[score]}, {better}", f"{after[score]:.1f} %",
              f"{before[score]:.1f} % before training" if score in before else "")
        for score in ("mAP", "rank1", "mINP")
    ]  # fmt: skip
    trained = [row["cluster/ari"] for row in report.rows if "cluster/ari" in row]
    if trained:
        first = f"{trained[0]:.2f} in the first epoch"
        cards.append(_card("ARI of the labels", f"{trained[-1]:.2f}", first))
    lines = {
        "before training": before,
        "student, last epoch": results.get("student"),
        "teacher, last epoch": results.get("teacher"),
        "best on the test split": results.get("best"),
        "published for DCCC": results.get("published"),
        "difference": results.get("difference"),
    }
    rows = [
        [name, *(cell(scores, score) for score in SCORES)]
        for name, scores in lines.items()
        if scores
    ]
    return {
        "cards": cards,
        "head": [scale(results, "%"), *(SCORE_NAMES[s] for s in SCORES)],
        "rows": rows,
    }


def _label_free(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the clusters, for a run without identities."""
    figures = results.get("figures")
    if not figures:
        return {}
    first, last = figures["first"], figures["last"]
    cards = [
        _card(name.capitalize(), form.format(last[key]),
              f"{form.format(first[key])} in the first epoch" if key in first else "")
        for key, (name, form) in FIGURES.items()
        if key in last
    ]  # fmt: skip
    rows = [
        [f"{name} epoch ({int(row['epoch']) + 1})",
         *(form.format(row[key]) if key in row else "" for key, (_, form) in FIGURES.items())]
        for name, row in figures.items()
    ]  # fmt: skip
    head = ["no identities, so no scores", *(name for name, _ in FIGURES.values())]
    return {"cards": cards, "head": head, "rows": rows, "note": f"Best: {RULE}."}


def _card(name: str, value: str, before: str) -> dict[str, str]:
    return {"name": name, "value": value, "before": before}


def _clustering(panels: Mapping[str, Panel]) -> list[Chart]:
    """Return the charts of distances, sizes and flow."""
    charts: list[Chart] = []
    data = {name: panel.data for name, panel in panels.items() if panel.data}
    if "distances" in data:
        charts += distance_charts(data["distances"])
    if "sizes" in data:
        charts.append(size_chart(data["sizes"]))
    if "flow" in data:
        charts.append(flow_chart(data["flow"]))
    return charts


def _map(panels: Mapping[str, Panel]) -> dict[str, Any]:
    """Return the charts of the map, and the number of its images as text."""
    if "map" not in panels:
        return {}
    data = panels["map"].data
    assert data is not None
    total, shown = data["images"], len(data["points"])
    count = f"{shown:,} of {total:,} training images" if shown < total else f"{total:,} images"
    return {"images": count, "charts": map_charts(data)}


def _thumbnails(panels: Mapping[str, Panel]) -> dict[str, Any]:
    """Return the size of the images of the boards, and their JPEG files by key."""
    if "thumbnails/boards" not in panels:
        return {}
    thumbnails = Thumbnails.cut(panels["thumbnails/boards"])
    pictures = {key: encoded(thumbnails[key], ".jpg") for key in thumbnails.places}
    return {"size": thumbnails.size, "pictures": pictures}


def _trained(timings: Sequence[Row]) -> list[Row]:
    return [row for row in timings if row["epoch"] >= 0]


def _times(timings: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the seconds of each part of the epochs: in all, as a share, and each time."""
    trained = _trained(timings)
    total = sum(row["total"] for row in trained) or 1.0
    times = []
    for part in PARTS if trained else ():
        seconds = [row[part] for row in trained if part in row]
        times.append({
            "name": part, "seconds": sum(seconds), "share": sum(seconds) / total,
            "mean": sum(seconds) / max(len(seconds), 1), "times": len(seconds),
        })  # fmt: skip
    return times


def _duration(seconds: float) -> str:
    """Format a duration.

    >>> _duration(61), _duration(7300)
    ('1 min 1 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
