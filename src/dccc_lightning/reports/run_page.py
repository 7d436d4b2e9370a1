"""report.html: a run on one page that needs nothing beside it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from dccc_lightning.common.files import write_atomically
from dccc_lightning.reports import html_panels, svg
from dccc_lightning.reports.label_free import FIGURES, RULE
from dccc_lightning.reports.metrics_table import Row
from dccc_lightning.reports.panels import Panel
from dccc_lightning.reports.results import SCORE_NAMES, SCORES, noted

PARTS = ("embedding", "clustering", "training", "evaluation", "other")
"""Columns of timings.csv that make up ``total``."""

_CLUSTER_BOARDS = [f"clusters/{kind}" for kind in
                   ("largest", "tightest", "loosest", "mixed", "outliers")]  # fmt: skip

_CURVES: tuple[tuple[str, dict[str, str], float], ...] = (
    ("mAP on the test split, %", {"val/mAP": "student", "val_teacher/mAP": "teacher"}, 100),
    ("Loss", {"train/loss": "loss"}, 1),
    ("eps (DCPS)", {"cluster/eps": "eps"}, 1),
    ("Clusters", {"cluster/num_clusters": "clusters"}, 1),
    ("Outliers, % of images", {"cluster/outlier_ratio": "outliers"}, 100),
    ("Labels against identities", {"cluster/ari": "ARI", "cluster/nmi": "NMI"}, 1),
    ("Silhouette", {"cluster/silhouette": "of clustered images",
                    "cluster/overall_silhouette": "outliers as 0"}, 1),
    ("Churn, % of images in another cluster", {"cluster/churn": "churn"}, 100),
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What the page tells.

    Attributes:
        title: Of the page, such as the name of the dataset.
        name: Of the run.
        results: Of results.json.
        rows: Of metrics.csv; epoch -1 is the evaluation before training.
        timings: Of timings.csv.
        choices: Of eps_curves.jsonl, where the schedule is adaptive: epoch, criterion, candidates,
            scores.
        panels: By name, with the epoch each was made after.
        command: That repeats the run.
        differences: Settings that are not the preset's: name, the preset's value, the run's.
        environment: What the run ran on.
        notice: What its settings are not.
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


def write_report(path: Path, report: Report) -> None:
    """Write the page, complete or not at all."""
    write_atomically(path, to_html(report).encode())


def to_html(report: Report) -> str:
    """Return the page; all names, paths and values of the user's are escaped."""
    results = report.results
    panels = {name: panel for name, (panel, _) in report.panels.items()}
    epochs = {epoch for _, epoch in report.panels.values()}
    when = f' <span class="dim">after epoch {max(epochs) + 1}</span>' if epochs else ""
    facts = [html_panels.distances(panels["distances"])] if "distances" in panels else []
    facts += [html_panels.sizes(panels["sizes"])] if "sizes" in panels else []
    facts += [html_panels.flow(panels["flow"])] if "flow" in panels else []
    sections = (
        ("figures", "Figures", _figures(report)),
        ("curves", "Curves", _grid(_curves(report.rows) + _choices(report.choices))),
        ("map", f"Map{when}", html_panels.interactive_map(panels)),
        ("distances", f"Distances, sizes, flow{when}", _grid("".join(facts))),
        ("clusters", f"Clusters{when}", html_panels.boards(panels, _CLUSTER_BOARDS)),
        ("rankings", f"Rankings{when}", html_panels.boards(panels, ["rankings"])),
        ("time", "Time", _time(report.timings, results["seconds"])),
        ("run", "This run", _run(report)),
    )
    shown = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{key}">{title.split("<")[0]}</a>' for key, title, _ in shown)
    body = "".join(
        f'<section id="{key}"><h2>{title}</h2>{content}</section>' for key, title, content in shown
    )
    title = escape(report.title)
    said = f"{results['epochs']} epochs · {_duration(results['seconds'])} · seed {results['seed']}"
    notice = f'<p class="dim">Note: {escape(report.notice)}</p>' if report.notice else ""
    folder = resources.files("dccc_lightning.reports") / "templates"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}: {escape(report.name)}</title><link rel="icon" href="data:,">'
        f"<style>{(folder / 'report.css').read_text()}</style></head><body><header>"
        f'<h1>{title}</h1><p class="dim">{said}</p>{notice}<nav>{links}</nav></header>'
        f"<main>{body}</main><footer>dccc_lightning {escape(results['versions']['dccc_lightning'])}"
        f"</footer><script>{(folder / 'map.js').read_text()}</script></body></html>\n"
    )


def _figures(report: Report) -> str:
    if report.results.get("student"):
        return _scores(report)
    return _label_free(report.results.get("figures") or {})


def _scores(report: Report) -> str:
    """Return scores before and after: large ones of the better network, then all of them."""
    results = report.results
    before = results.get("initial") or {}
    networks = [results[name] for name in ("student", "teacher") if results.get(name)]
    after = max(networks, key=lambda scores: scores["mAP"])
    cards = [
        _card(name, f"{after[score]:.1f} %",
              f"{before[score]:.1f} % before training" if score in before else "")
        for score, name in ((score, SCORE_NAMES[score]) for score in ("mAP", "rank1", "mINP"))
    ]  # fmt: skip
    trained = [row for row in report.rows if "cluster/ari" in row]
    if trained:
        first, last = trained[0]["cluster/ari"], trained[-1]["cluster/ari"]
        cards.append(_card("ARI of the labels", f"{last:.2f}", f"{first:.2f} in the first epoch"))
    lines = {
        "before training": before,
        "student, last epoch": results.get("student"),
        "teacher, last epoch": results.get("teacher"),
        "best on the test split": results.get("best"),
        "published for DCCC": results.get("published"),
        "difference": results.get("difference"),
    }
    rows = [
        [name, *(f"{scores[score]:.1f}" if score in scores else "" for score in SCORES)]
        for name, scores in lines.items()
        if scores
    ]
    said = noted("test split, %", results.get("note"))
    table = _table([said, *(SCORE_NAMES[score] for score in SCORES)], rows)
    return f'<div class="cards">{"".join(cards)}</div><div class="card below">{table}</div>'


def _label_free(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return what stands in for scores where nobody knows an identity."""
    if not figures:
        return ""
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
    table = f'{_table(head, rows)}<p class="dim">Best: {escape(RULE)}.</p>'
    return f'<div class="cards">{"".join(cards)}</div><div class="card below">{table}</div>'


def _curves(rows: Sequence[Row]) -> str:
    cards = []
    for title, columns, factor in _CURVES:
        series = {
            name: [
                (row["epoch"] + 1, factor * row[key])
                for row in rows
                if math.isfinite(row.get(key, math.nan))
            ]
            for key, name in columns.items()
        }
        series = {name: points for name, points in series.items() if points}
        if series:
            chart = svg.lines(series, title, "epochs trained")
            cards.append(html_panels.chart_card(title, chart, list(series)))
    return "".join(cards)


def _choices(choices: Sequence[Mapping[str, Any]]) -> str:
    """Return what an adaptive schedule chose eps by, in the first epoch, midway and the last."""
    if not choices:
        return ""
    shown = {
        choice["epoch"]: choice for choice in (choices[0], choices[len(choices) // 2], choices[-1])
    }
    series = {
        f"epoch {epoch + 1}, eps {choice['eps']:.3f}": list(
            zip(choice["candidates"], choice["scores"], strict=True)
        )
        for epoch, choice in shown.items()
    }
    criteria = ", ".join(dict.fromkeys(choice["criterion"] for choice in choices))
    title = f"Choice of eps: score by {criteria}"
    chart = svg.lines(series, title, "eps", whole=False)
    return html_panels.chart_card(title, chart, list(series), "The highest score is chosen.")


def _time(timings: Sequence[Row], seconds: float) -> str:
    """Return the shares of the parts of an epoch, their seconds, and what else the run took."""
    trained = [row for row in timings if row["epoch"] >= 0]
    if not trained:
        return ""
    sums = {part: sum(row.get(part, 0.0) for row in trained) for part in PARTS}
    total = sum(row["total"] for row in trained) or 1.0
    stripes = "".join(
        f'<span class="part s{n}" style="flex:{max(sums[part], 0):.3f}" title="{part}"></span>'
        for n, part in enumerate(PARTS)
    )
    rows = []
    for number, part in enumerate(PARTS):
        times = [row[part] for row in trained if part in row]
        mean = sum(times) / len(times) if times else 0.0
        name = f'<span class="key"><span><i class="s{number}"></i>{part}</span></span>'
        rows.append([name, f"{sums[part]:.1f}", f"{sums[part] / total:.0%}", f"{mean:.2f}",
                     str(len(times))])  # fmt: skip
    if seconds > total:  # of a resumed run the epochs before are not in ``seconds``
        rows.append(["start, panels, end: beside the epochs", f"{seconds - total:.1f}", "", "", ""])
    head = ["", "seconds in all", "share", "seconds each time", "times"]
    table = _table(head, rows, is_escaped=True)
    return f'<div class="card"><div class="parts">{stripes}</div>{table}</div>'


def _run(report: Report) -> str:
    parts = []
    if report.command:
        parts.append(f"<h3>How to reproduce</h3><pre>{escape(report.command)}</pre>")
    if report.differences:
        table = _table(["setting", "preset", "this run"], report.differences, style="text")
        parts.append(f"<h3>Settings that differ from the preset</h3>{table}")
    elif report.command:
        parts.append('<p class="dim">All settings are the preset\'s.</p>')
    rows = list((dict(report.results["versions"]) | dict(report.environment)).items())
    parts.append(f"<h3>Environment</h3>{_table(['', ''], rows, style='text')}")
    cards = "".join(f'<div class="card board">{part}</div>' for part in parts)
    return cards


def _card(name: str, value: str, before: str) -> str:
    return (f'<div class="card"><h3>{escape(name)}</h3><div class="big">{escape(value)}</div>'
            f'<p class="dim">{escape(before)}</p></div>')  # fmt: skip


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], style: str = "", is_escaped: bool = False
) -> str:
    def cells(values: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}>{v if is_escaped else escape(v)}</{tag}>" for v in values)

    top = f"<thead><tr>{cells(head, 'th')}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table class="{style}">{top}<tbody>{body}</tbody></table></div>'


def _grid(cards: str) -> str:
    return f'<div class="charts">{cards}</div>' if cards else ""


def _duration(seconds: float) -> str:
    """Return a duration for people.

    >>> _duration(61), _duration(7300)
    ('1 min 1 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
