"""The tables of the ablation study, from the runs that are finished."""

import csv
import io
import itertools
import statistics
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from study_plan import PAIRS, STAGES, TABLES, Job, Table, jobs_of, plan, rows, title
from study_runner import RESULTS, commit_of

from dccc_lightning.common.files import write_atomically
from dccc_lightning.reports.sweep_jobs import SweepJob, read_jobs
from dccc_lightning.reports.sweep_table import Spread

MARK = "<!-- Written by `python benchmarks/study tables`, to the end of the file. -->\n"
MEASURES = {
    "student mAP": ("val/mAP", 100.0, "{:.1f}"),
    "teacher mAP": ("val_teacher/mAP", 100.0, "{:.1f}"),
    "student rank-1": ("val/rank1", 100.0, "{:.1f}"),
    "teacher rank-1": ("val_teacher/rank1", 100.0, "{:.1f}"),
    "clusters": ("cluster/num_clusters", 1.0, "{:.0f}"),
    "ARI": ("cluster/ari", 1.0, "{:.2f}"),
    "cameras": ("cluster/camera_entropy", 1.0, "{:.2f}"),
    "pair precision": ("cluster/pair_precision", 1.0, "{:.2f}"),
    "pair recall": ("cluster/pair_recall", 1.0, "{:.2f}"),
    "outliers": ("cluster/outlier_ratio", 100.0, "{:.1f}"),
}
"""Of the last epoch: column, key in metrics.csv, factor, form."""

SHOWN = ("student mAP", "teacher mAP", "ARI", "cameras")
"""On the page; the CSV file has all."""

WIDTH = 112
"""Of a line of the documentation."""

Finished = Mapping[Job, SweepJob]


def finished(folder: Path) -> Finished:
    """Read the runs that have results."""
    if not any(folder.glob(f"*/{RESULTS}")):
        return {}
    read = {run.name: run for run in read_jobs(folder) if run.measures}
    return {job: read[job.name] for job in plan() if job.name in read}


def status(folder: Path) -> str:
    """Say what is there, and how long the rest takes."""
    done = finished(folder)
    lines = [f"{'table':20} {'worlds':8}" + "".join(f"{f'seeds {s}':>18}" for s in STAGES)]
    for table in TABLES:
        wanted = [[job for job in jobs_of(table) if job.seed in stage] for stage in STAGES]
        counts = [(sum(job in done for job in jobs), len(jobs)) for jobs in wanted]
        cells = [f"{made} of {number}" for made, number in counts]
        lines.append(f"{table.grid:20} {table.pair:8}" + "".join(f"{cell:>18}" for cell in cells))
    if done:
        seconds = statistics.fmean(run.measures["seconds"] for run in done.values())
        missing = len(plan()) - len(done)
        rest = f"{missing} missing, {missing * seconds / 3600:.1f} h one at a time"
        lines.append(f"{len(done)} runs of {seconds:.0f} s; {rest}")
    return "\n".join(lines)


def write_tables(folder: Path, page: Path) -> None:
    """Write the tables below the mark of a page, and beside it a line of CSV for every run.

    Raises:
        ValueError: The page has no mark.
    """
    done = finished(folder)
    head, mark, _ = page.read_text().partition(MARK)
    if not mark:
        raise ValueError(f"{page} needs the line {MARK.strip()}")
    commits = Counter(commit_of(folder, job) for job in done).most_common()
    made = ", ".join(f"{number} by version {name}" for name, number in commits)
    count = f"{len(done)} of {len(plan())} runs are finished" + (f": {made}." if made else ".")
    tables = [table_text(table, done) for table in TABLES]
    text = "\n".join([head + mark, f"{_wrapped(count)}\n", *(t for t in tables if t)])
    write_atomically(page, text.encode())
    write_atomically(page.with_suffix(".csv"), runs_to_csv(folder, done).encode())


def table_text(table: Table, done: Finished) -> str:
    """Return a table: a line a setting that has runs, mean ± standard deviation over seeds.

    These are the seeds that all of the settings with runs have; where there is none such, all that
    each has. Nothing where less than two settings have runs: there is nothing to compare yet.
    """
    jobs = compared([job for job in jobs_of(table) if job in done])
    lines = []
    for row in rows(table.grid):
        mine = [[j for j in jobs if (j.world, j.changes) == (w, row.changes)] for w in table.worlds]
        cells = [spread([done[j] for j in js], column) for js in mine for column in SHOWN]
        seeds = [", ".join(str(j.seed) for j in js) or "none" for js in mine]
        if any(mine):
            lines.append([*row.arguments.values(), *cells, " / ".join(dict.fromkeys(seeds))])
    if len(lines) < 2:
        return ""
    names = list(rows(table.grid)[0].arguments)
    figures = [f"{world}: {column}" for world in table.worlds for column in SHOWN]
    header = [[*names, *figures, "seeds"], ["---"] * (len(names) + len(figures) + 1)]
    start = ["before training", *[""] * (len(names) - 1), *before(table, jobs, done), ""]
    body = "\n".join(f"| {' | '.join(line)} |" for line in [*header, start, *lines])
    worlds = f"Worlds: {table.pair} (`{PAIRS[table.pair]}`)."
    said = _wrapped(f"{title(table.grid)} {worlds}")
    return f"## {table.grid}, {table.pair}\n\n{said}\n\n{body}\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def compared(jobs: Sequence[Job]) -> Sequence[Job]:
    """Return the jobs whose seeds all settings have on all worlds; all jobs if there are none."""
    seeds: dict[tuple[str, tuple[str, ...]], set[int]] = {}
    for job in jobs:
        seeds.setdefault((job.world, job.changes), set()).add(job.seed)
    common = set.intersection(*seeds.values()) if seeds else set()
    return [job for job in jobs if job.seed in common] or jobs


def before(table: Table, jobs: Sequence[Job], done: Finished) -> list[str]:
    """Return the cells of the start: that of the first row, which is the same for all rows.

    Unless they are evaluated otherwise; the first one is as usual.
    """
    first = reversed(jobs)
    scores = {job.world: f"{100 * done[job].rows[0]['val/mAP']:.1f}" for job in first}
    cells = itertools.product(table.worlds, SHOWN)
    return [scores.get(w, "") if column == SHOWN[0] else "" for w, column in cells]


def spread(runs: Sequence[SweepJob], column: str) -> str:
    """Return mean ± standard deviation (n - 1) for people."""
    values = [value for run in runs if (value := measure(run, column)) is not None]
    if not values:
        return ""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation).shown(MEASURES[column][2])


def measure(run: SweepJob, column: str) -> float | None:
    """Return a figure of the last epoch; None: this run has none."""
    key, factor, _ = MEASURES[column]
    return factor * run.rows[-1][key] if key in run.rows[-1] else None


def runs_to_csv(folder: Path, done: Finished) -> str:
    """Return a line a run, unrounded; scores are per cent."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["pair", "world", "changes", "seed", *MEASURES, "seconds", "version"])
    for job, run in done.items():
        figures = [measure(run, column) for column in MEASURES]
        facts = [job.pair, job.world, " ".join(job.changes), job.seed]
        writer.writerow([*facts, *figures, run.measures["seconds"], commit_of(folder, job)])
    return buffer.getvalue()
