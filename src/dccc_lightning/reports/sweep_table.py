"""Table of a sweep: jobs that differ only in seed or division of people make one row."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dccc_lightning.common.text_files import csv_text
from dccc_lightning.reports.sweep_jobs import MEASURES, SweepJob

REPEATED = ("seed", "dataset.split")
"""Arguments over whose values a row is the mean."""

_LONG = 8
"""Characters from which a number is taken for a computed one, and rounded."""


class Spread(NamedTuple):
    """Mean of a measure over jobs, and standard deviation (n - 1); None for a single job."""

    mean: float
    deviation: float | None

    def shown(self, form: str) -> str:
        """Format mean and deviation.

        >>> Spread(57.125, 2.25).shown("{:.1f}"), Spread(57.125, None).shown("{:.1f}")
        ('57.1 ± 2.2', '57.1')
        """
        text = form.format(self.mean)
        return text if self.deviation is None else f"{text} ± {form.format(self.deviation)}"


@dataclass(frozen=True)
class SweepRow:
    """Jobs of one setting."""

    setting: Mapping[str, str]
    jobs: Sequence[SweepJob]  # with results
    is_pruned: bool  # one of them ended early, so its figures are of a shorter training

    def spread(self, measure: str) -> Spread | None:
        """Return a measure over the jobs that have it; None if none does."""
        values = [job.measures[measure] for job in self.jobs if measure in job.measures]
        if not values:
            return None
        return Spread(
            statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
        )

    @property
    def protocol(self) -> str:
        """Evaluation protocol of the jobs; empty without scores."""
        return self.jobs[0].protocol

    def name(self) -> str:
        """Return the setting as one line."""
        given = (f"{key}={shown(value)}" for key, value in self.setting.items())
        return " ".join(given) or "all alike"


@dataclass(frozen=True)
class SweepTable:
    """Table of a sweep.

    Attributes:
        varying: The arguments that differ between jobs, those of ``REPEATED`` aside.
        objective: Orders the rows: mAP if there are scores, else the silhouette.
        rows: Best first, then pruned ones, then those without objective. Rows of one
            protocol follow each other.
        without_results: The jobs that failed or are not finished.
    """

    varying: tuple[str, ...]
    objective: str
    rows: Sequence[SweepRow]
    without_results: Sequence[SweepJob]

    @property
    def measures(self) -> list[str]:
        """Return the measures of the rows."""
        return [name for name in MEASURES if any(row.spread(name) for row in self.rows)]

    @property
    def differing(self) -> tuple[str, ...]:
        """Return the arguments in which the rows differ, those of jobs without results aside."""
        values = {name: {row.setting[name] for row in self.rows} for name in self.varying}
        return tuple(name for name, found in values.items() if len(found) > 1)

    @property
    def protocols(self) -> list[str]:
        """Return the evaluation protocols of the rows, whose scores are not compared."""
        return list(dict.fromkeys(row.protocol for row in self.rows if row.protocol))

    @property
    def best(self) -> SweepRow | None:
        """Return the row with the highest mean; None if pruned, or if protocols differ."""
        first = self.rows[0] if self.rows and len(self.protocols) < 2 else None
        return None if first is None or first.is_pruned else first

    def header(self) -> list[str]:
        """Return the titles of the columns."""
        protocol = ["protocol"] if len(self.protocols) > 1 else []
        return [*self.varying, *protocol, "jobs", *(MEASURES[name][0] for name in self.measures)]

    def cells(self, row: SweepRow) -> list[str]:
        """Return the formatted cells of a row."""
        count = f"{len(row.jobs)} (pruned)" if row.is_pruned else str(len(row.jobs))
        spreads = [(row.spread(name), MEASURES[name][1]) for name in self.measures]
        figures = [spread.shown(form) if spread else "" for spread, form in spreads]
        setting = [shown(row.setting.get(key, "")) for key in self.varying]
        protocol = [row.protocol] if len(self.protocols) > 1 else []
        return [*setting, *protocol, count, *figures]


def shown(value: str) -> str:
    """Format the value of an argument: numbers that a search sampled are rounded.

    >>> shown("0.5665074998819105"), shown("0.00035"), shown("cosine")
    ('0.5665', '0.00035', 'cosine')
    """
    try:
        return f"{float(value):.4g}" if len(value) > _LONG else value
    except ValueError:
        return value


def number(value: str) -> float | None:
    """Return the finite number that an argument is; None if it is a text.

    >>> number("0.5"), number("inf"), number("cosine")
    (0.5, None, None)
    """
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def tabulate(jobs: Sequence[SweepJob]) -> SweepTable:
    """Group the jobs of a sweep by their arguments except those of ``REPEATED``."""
    varying = varying_arguments(jobs)
    objective = "mAP" if any("mAP" in job.measures for job in jobs) else "overall_silhouette"
    groups: dict[tuple[str, tuple[str, ...]], list[SweepJob]] = {}
    for job in jobs:
        if job.measures:
            key = job.protocol, tuple(job.arguments.get(name, "") for name in varying)
            groups.setdefault(key, []).append(job)
    rows = [
        SweepRow(dict(zip(varying, key, strict=True)), group, any(j.is_pruned for j in group))
        for (_, key), group in groups.items()
    ]

    def rank(row: SweepRow) -> tuple[bool, str, bool, float]:
        spread = row.spread(objective)
        return spread is None, row.protocol, row.is_pruned, -spread.mean if spread else 0.0

    without = [job for job in jobs if not job.measures]
    return SweepTable(varying, objective, sorted(rows, key=rank), without)


def varying_arguments(jobs: Sequence[SweepJob]) -> tuple[str, ...]:
    """Return the arguments in which jobs differ, in the order of the command line."""
    names = dict.fromkeys(name for job in jobs for name in job.arguments if name not in REPEATED)
    return tuple(n for n in names if len({job.arguments.get(n) for job in jobs}) > 1)


def to_markdown(table: SweepTable, title: str) -> str:
    """Return the table, with the best row in bold, and the jobs without results below it."""
    header = table.header()
    order = f"Best {MEASURES[table.objective][0]} first. {note(table)}"
    lines = [f"# {title}", "", order, ""]
    lines += [_markdown_row(header), _markdown_row(["---"] * len(header))]
    for row in table.rows:
        cells = table.cells(row)
        lines.append(_markdown_row([f"**{c}**" if c and row is table.best else c for c in cells]))
    if table.without_results:
        lines += [
            "",
            "## Jobs without results",
            "",
            "| job | arguments | why |",
            "| --- | --- | --- |",
        ]
        lines += [_markdown_row(cells) for cells in excuses(table)]
    return "\n".join([*lines, ""])


_NOTE = (
    "Mean ± standard deviation over seeds and divisions of people (n - 1; one job has none). "
    "Scores are per cent, of the better network at the last evaluation; the silhouette is the "
    "highest of the run, with outliers as 0."
)


def note(table: SweepTable) -> str:
    """Return the explanation of a table's figures."""
    if len(table.protocols) < 2:
        return _NOTE
    names = ", ".join(table.protocols)
    return f"{_NOTE} Scores of different protocols ({names}) are not comparable, so none is best."


def excuses(table: SweepTable) -> list[list[str]]:
    """Return job, arguments and reason of each job without results."""
    named = (*table.varying, *REPEATED)
    return [
        [
            job.name,
            " ".join(f"{k}={shown(job.arguments[k])}" for k in named if k in job.arguments),
            job.error or "unfinished",
        ]
        for job in table.without_results
    ]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def to_csv(table: SweepTable) -> str:
    """Return a line for each setting: unrounded means and deviations, and the number of jobs."""
    measures = table.measures
    titles = [part for name in measures for part in (f"{name}_mean", f"{name}_std")]
    protocol = ["protocol"] if len(table.protocols) > 1 else []
    lines = [[*table.varying, *protocol, "jobs", "pruned", *titles]]
    for row in table.rows:
        figures: list[str] = []
        for name in measures:
            mean, deviation = row.spread(name) or ("", None)
            figures += [str(mean), "" if deviation is None else str(deviation)]
        setting = [row.setting[key] for key in table.varying]
        if protocol:
            setting.append(row.protocol)
        lines.append([*setting, str(len(row.jobs)), str(row.is_pruned).lower(), *figures])
    return csv_text(lines)


def jobs_to_csv(jobs: Sequence[SweepJob]) -> str:
    """Return a line for each job, failed ones included."""
    arguments = [*varying_arguments(jobs), REPEATED[0]]
    arguments += [name for name in REPEATED[1:] if any(name in job.arguments for job in jobs)]
    lines = [["job", "state", *arguments, *MEASURES, "error"]]
    for job in jobs:
        figures = [str(job.measures.get(name, "")) for name in MEASURES]
        given = [job.arguments.get(name, "") for name in arguments]
        lines.append([job.name, job.state, *given, *figures, job.error or ""])
    return csv_text(lines)
