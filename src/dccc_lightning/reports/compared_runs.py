"""Comparison of two runs: whether their tests are the same, scores by query, and labels."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from dccc_lightning.errors import UserError
from dccc_lightning.metrics.cluster_quality import adjusted_rand_index
from dccc_lightning.metrics.mean_interval import mean_interval
from dccc_lightning.reports.cluster_table import read_cluster_table
from dccc_lightning.reports.metrics_table import Row, read_rows
from dccc_lightning.reports.query_table import read_query_table
from dccc_lightning.reports.run_records import task_of
from dccc_lightning.reports.sweep_jobs import UNREADABLE, reason

RESAMPLES = 2000
"""Resamples of the interval of a difference."""

NETWORKS = ("student", "teacher")


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """Finished training and its files.

    Attributes:
        name: Shown in tables; distinct among the runs.
        folder: Of the run.
        written_to: The folder as it was called while the run wrote to it.
        settings: Resolved settings.
        results: Of results.json.
        rows: Of metrics.csv.
        timings: Of timings.csv.
        queries: Of queries.parquet, None without the file.
        clusters: Of clusters.parquet, None without the file.
    """

    name: str
    folder: Path
    written_to: str
    settings: Mapping[str, Any]
    results: Mapping[str, Any]
    rows: Sequence[Row]
    timings: Sequence[Row]
    queries: pa.Table | None
    clusters: pa.Table | None

    @property
    def test(self) -> tuple[str, str]:
        """Return data set and protocol of the scores; empty protocol without scores."""
        dataset = self.settings["dataset"]
        name = str(dataset["name"])
        place = f" {Path(str(dataset['root'])).name}" if name == "folder" else ""
        if dataset.get("split") is not None:
            place += f" division {dataset['split']}"
        return name + place, str(self.results.get("protocol", "market1501" if self.scores else ""))

    @property
    def network(self) -> str:
        """Return the network of queries.parquet, else the better one after the last epoch."""
        found = [name for name in NETWORKS if self.results.get(name)]
        if self.queries is not None:
            ranked = self.queries.schema.metadata[b"network"].decode()
            return ranked if ranked in found else ""
        return max(found, key=lambda name: self.results[name]["mAP"]) if found else ""

    @property
    def scores(self) -> dict[str, float]:
        """Return the scores of ``network`` after the last epoch, in per cent."""
        return dict(self.results[self.network]) if self.network else {}


class Difference(NamedTuple):
    """Difference of mAP in points, with a paired 95 % interval by bootstrap.

    Attributes:
        mean: Over the queries (or identities, where the protocol averages over them).
        low: End of the interval.
        high: End of the interval.
        queries: Number of common queries.
    """

    mean: float
    low: float
    high: float
    queries: int


class Agreement(NamedTuple):
    """Agreement of the clusters of two runs.

    Attributes:
        images: Number of common training images.
        ari: Adjusted Rand index over the images that both have clustered; None without any.
        only_first: Share of the images that only the first has clustered.
        only_second: Share that only the second has clustered.
        merged: Clusters of the first that the second has as one: (theirs, of the first, images).
        split: Cluster of the first that the second has as several: (of the first, theirs, images).
    """

    images: int
    ari: float | None
    only_first: float
    only_second: float
    merged: list[tuple[int, list[int], int]]
    split: list[tuple[int, list[int], int]]


def read_compared(folders: Sequence[Path]) -> list[ComparedRun]:
    """Read finished trainings.

    Raises:
        UserError: A folder is no finished training.
    """
    names = _names(folders)
    return [_read(folder, name) for folder, name in zip(folders, names, strict=True)]


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that differ.

    >>> _names([Path("runs/a/0"), Path("runs/b/0")])
    ['a/0', 'b/0']
    """
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _read(folder: Path, name: str) -> ComparedRun:
    if not (folder / "config.yaml").is_file():
        raise UserError(f"runs={folder}: no run; give the output folders of trainings")
    if not (folder / "results.json").is_file():
        raise UserError(f"runs={folder}: the run has no results.json; it is not finished")
    try:
        settings = yaml.safe_load((folder / "config.yaml").read_text())
        task = task_of(settings)
        results = json.loads((folder / "results.json").read_text())
        rows, timings = (read_rows(folder / name) for name in ("metrics.csv", "timings.csv"))
        if task != "train":
            raise UserError(f"runs={folder}: is of task={task}; trainings are compared")
        queries, clusters = read_query_table(folder), _read_clusters(folder)
        run = ComparedRun(
            name, folder, _written_to(folder), settings, results, rows, timings, queries, clusters
        )
        _ = run.test, settings["image"]["height"], results["seconds"], results["epochs"]
    except (*UNREADABLE, pa.ArrowException) as error:
        raise UserError(f"runs={folder}: cannot be read ({reason(error)})") from error
    return run


def _written_to(folder: Path) -> str:
    """Return the path that Hydra noted: ``output`` is not that of a job of a sweep."""
    noted = folder / ".hydra" / "hydra.yaml"
    if not noted.is_file():
        return str(folder.resolve())
    return str(yaml.safe_load(noted.read_text())["hydra"]["runtime"]["output_dir"])


def _read_clusters(folder: Path) -> pa.Table | None:
    """Read path and cluster (-1 for an outlier) of the training images."""
    table = read_cluster_table(folder / "clusters")
    if table is None:
        return None
    cluster = table["cluster"].cast(pa.int64()).fill_null(-1)
    return pa.table({"path": table["path"].cast(pa.string()), "cluster": cluster})


def why_not_compared(first: ComparedRun, second: ComparedRun) -> str:
    """Return why the scores of two runs cannot be compared; empty if they can."""
    for what, ours, theirs in zip(("data set", "protocol"), first.test, second.test, strict=True):
        if ours != theirs:
            return f"another {what}: {theirs or 'no scores'} beside {ours or 'no scores'}"
    if not first.scores:
        return "no scores"
    if bool(first.results.get("note")) != bool(second.results.get("note")):
        return "only one of them is camera-centred at test time"
    counts = [run.results.get("scored_queries") for run in (first, second)]
    if None not in counts and counts[0] != counts[1]:
        return f"other queries: {counts[1]} beside {counts[0]}"
    if first.queries is not None and second.queries is not None:
        total = max(len(first.queries), len(second.queries))
        if 0 < (common := len(common_queries(first, second))) < total:
            return f"other queries: {common} of {total} are of both"
    return ""


def common_queries(first: ComparedRun, second: ComparedRun) -> list[tuple[int, int]]:
    """Return the rows of the same query in both tables, by path."""
    if first.queries is None or second.queries is None:
        return []
    places = {path: row for row, path in enumerate(_paths(second, second.queries))}
    paths = _paths(first, first.queries)
    return [(row, places[path]) for row, path in enumerate(paths) if path in places]


def difference(
    first: ComparedRun, second: ComparedRun, by_identity: bool = False
) -> Difference | None:
    """Return the difference of mAP, second minus first; None without common queries.

    The queries are drawn with replacement, each with its scores of both runs.

    Args:
        first: The base.
        second: Compared with it.
        by_identity: Draw identities, whose queries are averaged first.
    """
    pairs = common_queries(first, second)
    if not pairs:
        return None
    assert first.queries is not None
    assert second.queries is not None
    ours, theirs = np.array(pairs).T
    gain = _column(second.queries, "precision")[theirs] - _column(first.queries, "precision")[ours]
    if by_identity:
        people = np.array(first.queries["identity"].to_pylist())[ours]
        _, codes = np.unique(people, return_inverse=True)
        gain = np.bincount(codes, weights=gain) / np.bincount(codes)
    low, high = mean_interval(gain, RESAMPLES)
    return Difference(100 * float(gain.mean()), 100 * low, 100 * high, len(pairs))


def changed_queries(
    first: ComparedRun, second: ComparedRun, count: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the rows of the queries that gained and of those that lost most, at most ``count``."""
    pairs = common_queries(first, second)
    if not pairs:
        return [], []
    assert first.queries is not None
    assert second.queries is not None
    ours, theirs = _column(first.queries, "precision"), _column(second.queries, "precision")
    gains = [(theirs[b] - ours[a], (a, b)) for a, b in pairs]
    ordered = sorted(gains, key=lambda item: (-item[0], item[1]))
    gained = [pair for gain, pair in ordered[:count] if gain > 0]
    lost = [pair for gain, pair in ordered[::-1][:count] if gain < 0]
    return gained, lost


def agreement(first: ComparedRun, second: ComparedRun) -> Agreement | None:
    """Return the agreement of the last clusterings; None without common images."""
    if first.clusters is None or second.clusters is None:
        return None
    places = {path: row for row, path in enumerate(_paths(second, second.clusters))}
    paths = _paths(first, first.clusters)
    pairs = [(row, places[path]) for row, path in enumerate(paths) if path in places]
    if not pairs:
        return None
    a, b = np.array(pairs).T
    ours, theirs = _column(first.clusters, "cluster")[a], _column(second.clusters, "cluster")[b]
    return Agreement(
        len(pairs),
        adjusted_rand_index(ours, theirs) if ((ours >= 0) & (theirs >= 0)).any() else None,
        float(np.mean((ours >= 0) & (theirs < 0))),
        float(np.mean((ours < 0) & (theirs >= 0))),
        _joined(theirs, ours),
        _joined(ours, theirs),
    )


def _joined(whole: NDArray[np.int64], parts: NDArray[np.int64]) -> list[tuple[int, list[int], int]]:
    """Return the clusters that hold most of several clusters of the other run, largest first."""
    both = (whole >= 0) & (parts >= 0)
    pairs, counts = np.unique(np.stack([whole[both], parts[both]]), axis=1, return_counts=True)
    sizes = Counter(parts.tolist())
    held: dict[int, list[int]] = {}
    images: dict[int, int] = {}
    for (one, part), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        if 2 * count > sizes[part]:
            held.setdefault(one, []).append(part)
            images[one] = images.get(one, 0) + count
    found = [(one, parts, images[one]) for one, parts in held.items() if len(parts) > 1]
    return sorted(found, key=lambda item: (-item[2], item[0]))


def _paths(run: ComparedRun, table: pa.Table) -> list[str]:
    """Return the paths of a table relative to the folder of the data, if they are below it."""
    paths: list[str] = table["path"].to_pylist()
    root = run.settings["dataset"].get("root")
    start = "" if root is None else f"{Path(str(root)).expanduser().absolute()}/"
    return [path.removeprefix(start) for path in paths]


def _column(table: pa.Table, name: str) -> NDArray[Any]:
    values: NDArray[Any] = table[name].to_numpy()
    return values
