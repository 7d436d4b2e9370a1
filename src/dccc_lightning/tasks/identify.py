"""``task=identify``: one identity per individual over all cameras."""

import shutil
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dccc_lightning.common import collectives
from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.common.files import replacing, write_atomically, write_json
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.common.progress import announced
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.data.datasets.small_cameras import warn_of_small_cameras
from dccc_lightning.data.image_list import sighting
from dccc_lightning.identities.identification import Identifier, between_cameras
from dccc_lightning.identities.identity_folders import link_folders
from dccc_lightning.identities.identity_table import (
    EMBEDDINGS,
    STEM,
    Known,
    identity_table,
    order_of,
)
from dccc_lightning.identities.kept_decisions import write_kept
from dccc_lightning.identities.stable_ids import continued
from dccc_lightning.identities.suggestions import doubts, suggestions
from dccc_lightning.metrics.cluster_margins import Margins, cluster_margins
from dccc_lightning.metrics.identified_images import identification_scores
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.neighbors.turned_rows import of_rows
from dccc_lightning.reports.cluster_table import write_cluster_table
from dccc_lightning.reports.identity_page import identity_page
from dccc_lightning.reports.results import versions
from dccc_lightning.reports.review_page import MOST_IDENTITIES, review_page
from dccc_lightning.tasks.early_checks import check_identify
from dccc_lightning.tasks.identify_constraints import Decided, decided, named, numbered
from dccc_lightning.tasks.identify_cuts import cut_names, newly_cut
from dccc_lightning.tasks.identify_inputs import WORK, Images, Labelled, Rows, collect
from dccc_lightning.tasks.identify_rule import Rule, check_cameras_known, chosen, left_out, rule_of

Ints = NDArray[np.int64]

FOLDERS = "folders"
"""Folder of the folders of the identities."""

REVIEW = "review.html"
"""Page of questions about the identities."""

_MOST_NAMED = 3
"""Tracklets named in the summary."""

LARGE_SHARE = 0.25
"""Share of all images above which a neighbourhood is noted as too large."""


def identify(settings: Settings, output: Path) -> dict[str, Any]:
    """Find the identity of every image of ``input`` or ``index`` and of ``known``.

    Args:
        settings: Composed configuration.
        output: Folder to write identities.parquet, .csv, .html, .json, review.html and
            embeddings.npy to.

    Returns:
        The content of identities.json, which is written last.

    Raises:
        UserError: A setting, table, image or checkpoint is invalid.
    """
    check_identify(settings)

    def prepare(known: Known | None, images: Labelled) -> tuple[Rule, Ints, Decided]:
        rule = rule_of(settings, images.fingerprint)
        cameras = numbered(images.columns["camera"])
        check_cameras_known(rule, cameras)
        return rule, cameras, decided(settings, known, images)

    images = collect(settings, output, prepare)
    collectives.leave_to_first()
    known = images.known
    rule, cameras, decisions = prepare(known, images)
    warn_of_small_cameras("input", cameras)
    unit = checked("input", lambda: of_rows(images.rows, images.fingerprint))
    whole = images.columns["tracklet"] = decisions.tracklet_names
    if settings["cut_tracklets"]:
        images.columns["tracklet"] = cut_names(images, unit)
        decisions = decided(settings, known, images)
        images.columns["tracklet"] = decisions.tracklet_names
    cut = newly_cut(whole, decisions.tracklet_names)
    given, tracklets = decisions.constraints, decisions.tracklets
    size = len(images.paths)
    if tracklets is not None and rule.calibration is None:
        size = len(np.unique(tracklets))
        rule = rule.for_tracklets(settings, size, len(images.paths))
    _note(settings, rule, size, decisions.absent)
    if known is not None and (lost := left_out(settings, known.folder)):
        CONSOLE.print(
            f"note: {path_argument('known', known.source)} was made with {' '.join(lost)}, this is "
            "not: identities may change by that alone",
            style="yellow",
        )
    with announced("finding identities"):
        identifier = Identifier(**rule.arguments)
        labels = checked(
            "settings",
            lambda: identifier(unit, cameras, given.groups, given.apart, tracklets),
        )
        margins = cluster_margins(labels, unit)
    before: dict[str, str] = {} if known is None else _by_path(known.images.paths, known.identities)
    earlier = [before.get(path) for path in images.paths]
    found = continued(labels, earlier, () if known is None else known.used)
    identities = [found.ids[label] for label in labels]
    names = named(
        identities, _names({} if known is None else known.names, found.retired), decisions.names
    )
    table = identity_table(
        images.paths,
        images.columns,
        identities,
        names,
        margins,
        [found.ids[label] if label >= 0 else None for label in margins.second],
        earlier,
    )
    labelled = (images.columns[name] for name in ("camera", "session", "tracklet"))
    seen = [sighting(*(cell or "" for cell in row)) or None for row in zip(*labelled, strict=True)]
    pairs = between_cameras(cameras, numbered(seen))
    moved = sum(old not in (None, own) for old, own in zip(earlier, identities, strict=True))
    results = {
        "images": len(labels),
        "new_images": images.new,
        "identities": len(found.ids),
        "new_identities": found.opened,
        "retired": found.retired,
        "changed_images": moved,
        "single_images": int((np.bincount(labels) == 1).sum()),
        "cut_tracklets": cut,
        "rule": rule.described(pairs),
        **({"scores": scores} if (scores := _scores(images, labels)) else {}),
        "fingerprint": images.fingerprint,
        "order": order_of(images.paths),
        "ids_without_images": sorted(set(() if known is None else known.used) - set(found.ids)),
        "versions": versions(),
    }
    with announced("choosing questions"):
        again = ("known", output), ("decisions", "decisions.csv"), ("output", "NEW")
        command = " ".join(
            ["task=identify", *starmap(path_argument, again), *chosen(settings).values()]
        )
        review = _review(
            command, f"review of {output.name}", table, unit, labels, margins, decisions, cameras
        )
    _write(output, table, images.rows, results, review, settings["folders"], decisions)
    CONSOLE.print(_summary(results, rule, pairs))
    return results


def _note(settings: Settings, rule: Rule, size: int, absent: int) -> None:
    """Note a default k1 that is large for so few images, and decisions that were left out.

    Args:
        settings: Composed configuration.
        rule: Rule of the identities.
        size: Number of images or tracklets that can be neighbours.
        absent: Number of decisions about images that are not there.
    """
    k1 = rule.arguments["k1"]
    if (
        settings["k1"] is None
        and rule.calibration is None
        and k1 > LARGE_SHARE * size > LARGE_SHARE
    ):
        CONSOLE.print(
            f"note: neighbourhoods of k1={k1} for {size:,} {rule.unit}: different individuals may "
            f"become one; set k1= to the {rule.unit} to expect of an individual",
            style="yellow",
        )
    if absent:
        CONSOLE.print(
            f"note: {counted(absent, 'decision')} left out, about images that are not here"
        )


def _by_path(paths: list[str], identities: list[str | None]) -> dict[str, str]:
    return {path: own for path, own in zip(paths, identities, strict=True) if own is not None}


def _names(given: dict[str, str], retired: dict[str, str]) -> dict[str, str]:
    """Return the names of identities; one that joined another without a name hands its own on."""
    names = dict(given)
    for old, new in retired.items():
        if old in given:
            names.setdefault(new, given[old])
    return names


def _scores(images: Images, labels: Ints) -> dict[str, float]:
    """Return scores against the identities of the images, in fractions, if some are known."""
    true = numbered(images.columns["identity"])
    if (true >= 0).sum() < 2:
        return {}
    return {name: round(value, 6) for name, value in identification_scores(labels, true).items()}


def _review(
    again: str,
    title: str,
    table: pa.Table,
    unit: UnitEmbeddings,
    labels: Ints,
    margins: Margins,
    decisions: Decided,
    cameras: Ints,
) -> str:
    """Return the page of questions."""
    sessions, frames = table["session"].to_pylist(), table["frame"].to_pylist()
    moments = [
        None if frame is None else (session, frame)
        for session, frame in zip(sessions, frames, strict=True)
    ]
    found = suggestions(unit, labels, decisions.constraints, cameras, moments)
    first = np.unique(labels, return_index=True)[1]
    most_doubtful = doubts(labels, margins, cameras, moments)[:MOST_IDENTITIES]
    return review_page(
        table, title, again, found, first[most_doubtful].tolist(),
        decisions.constraints, decisions.rows,
    )  # fmt: skip


def _write(
    output: Path,
    table: pa.Table,
    rows: Rows,
    results: dict[str, Any],
    review: str,
    folders: bool,
    decisions: Decided,
) -> None:
    """Write all files, each complete or as it was, and the summary last."""
    with announced("writing the identities"):
        with replacing(output / EMBEDDINGS) as file:
            np.save(file, UnitEmbeddings.of(rows).rows, allow_pickle=False)
        write_cluster_table(output / STEM, table)
        paths = table["path"].to_pylist()
        pairs = (row for row in decisions.rows if isinstance(row[2], int))
        write_kept(output, ((paths[one], kind, paths[other]) for one, kind, other in pairs))
        page = identity_page(table, f"identities of {output.name}")
        write_atomically(output / f"{STEM}.html", page.encode())
        write_atomically(output / REVIEW, review.encode())
        if folders:
            link_folders(output / FOLDERS, paths, table["identity"].to_pylist())
        write_json(output / f"{STEM}.json", results)
        shutil.rmtree(output / WORK, ignore_errors=True)


def _summary(results: dict[str, Any], rule: Rule, pairs: int) -> str:
    count, new = results["identities"], len(results["new_identities"])
    lines = [
        f"{counted(count, 'identity', 'identities')} in {counted(results['images'], 'image')} "
        f"({new:,} of them new, {results['single_images']:,} with one image)",
        rule.sentence(pairs),
    ]
    if results["changed_images"]:
        lines.append(f"{counted(results['changed_images'], 'image')} changed identity")
    if results["retired"]:
        lines[-1] += (
            f", {counted(len(results['retired']), 'identity', 'identities')} joined "
            f"{counted(len(set(results['retired'].values())), 'other', 'others')}"
        )
    if cut := results["cut_tracklets"]:
        more = f" and {len(cut) - _MOST_NAMED:,} more" if len(cut) > _MOST_NAMED else ""
        lines.append(
            f"{counted(len(cut), 'tracklet')} cut where people were exchanged: "
            f"{', '.join(cut[:_MOST_NAMED])}{more}; a decision same joins the pieces"
        )
    if scores := results.get("scores"):
        lines.append(
            f"beside the identities of the images: F1 {100 * scores['idf1']:.1f} %, ARI "
            f"{scores['ari']:.3f}, purity {100 * scores['purity']:.1f} %"
        )
    lines.append(f"{REVIEW} asks about the most doubtful")
    return "\n".join(lines)
