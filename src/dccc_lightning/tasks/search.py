"""``task=search``: search of a gallery with query images."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dccc_lightning.common import checks
from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.common.files import write_json
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.errors import UserError
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.gallery.gallery_table import NO_NAME
from dccc_lightning.reports.boards.search_board import SearchRow, write_board
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.reports.results import versions
from dccc_lightning.tasks.calibrated import calibration_of
from dccc_lightning.tasks.early_checks import check_search
from dccc_lightning.tasks.gallery_inputs import embed_images, listed_images, loaded_embedder
from dccc_lightning.tasks.inputs import path_of
from dccc_lightning.tasks.path_labels import PathLabels

SAME = "same"
"""Value that excludes images of each query's camera or session."""


def search(settings: Settings, output: Path) -> dict[str, Any]:
    """Search the gallery ``index`` with the images of ``query``.

    Args:
        settings: Composed configuration.
        output: Folder to write results.json and board.png to.

    Returns:
        The content of results.json.

    Raises:
        UserError: A setting, the gallery, the checkpoint or an image is invalid.
    """
    k, drawn, columns = check_search(settings)
    folder = path_of(settings, "index")
    embedder = loaded_embedder(settings)
    gallery = GalleryIndex.load(folder)
    gallery.check_fingerprint(embedder.fingerprint, embedder.preprocessing)
    minimum = _minimum_score(settings["minimum_score"], embedder.fingerprint)
    labels = PathLabels(settings, gallery)
    table = gallery.table
    known = {"camera": table.camera_codes.of_name, "session": table.sighting_codes.of_name}
    for label, codes in known.items():
        _check_excluded(label, settings[f"exclude_{label}"], codes)
    queries, rows = embed_images(
        embedder, listed_images(settings, "query", labels, needed=False), settings
    )
    cameras, sessions = (
        _excluded(label, settings[f"exclude_{label}"], own)
        for label, own in (
            ("camera", [query.camera for query in queries]),
            ("session", [query.sighting for query in queries]),
        )
    )
    found = gallery.search(
        rows, k + 1, exclude_camera=cameras, exclude_session=sessions, minimum_score=minimum
    )
    rankings = [  # without the query itself, if it is in the gallery
        SearchRow(query, [hit for hit in hits if hit.path != query.path][:k])
        for query, hits in zip(queries, found, strict=True)
    ]
    results = {
        "gallery": str(folder.absolute()),
        "images": len(gallery),
        "kind": gallery.kind,
        "recall": gallery.recall,
        "fingerprint": gallery.fingerprint,
        "network": embedder.origin.name,
        "k": k,
        "exclude_camera": settings["exclude_camera"],
        "exclude_session": settings["exclude_session"],
        "minimum_score": minimum,
        "queries": [_described(row) for row in rankings],
        "versions": versions(),
    }
    write_json(output / "results.json", results)
    CONSOLE.print(f"{_summary(rankings, gallery)}\nnetwork: {embedder.origin.name}")
    if drawn:
        title = f"{counted(len(gallery), 'image')} searched, best first"
        columns = min(columns, max(len(row.hits) for row in rankings) or 1)
        with warn_on_failure("board.png"):
            write_board(output / "board.png", rankings[:drawn], columns, title)
            CONSOLE.print(f"board: {output / 'board.png'}")
    return results


def _minimum_score(value: Any, fingerprint: str) -> float:
    """Return the minimum score of a hit, given as a number or as a calibration.json."""
    if value is None:
        return -1.0
    if not isinstance(value, str):
        return checked("settings", lambda: checks.real("minimum_score", value, -1, 1))
    threshold: float = calibration_of("minimum_score", value, fingerprint)["threshold"]
    return threshold


def _check_excluded(label: str, value: Any, known: Collection[str]) -> None:
    """Raise an error if the camera or session to exclude is not in the gallery."""
    names = sorted(set(known) - {NO_NAME})
    if value is None or (names and (value == SAME or str(value) in names)):
        return
    there = f"its {label}s are {', '.join(names[:20])}" if names else f"the gallery has no {label}s"
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    hint = "" if names else "; task=index reads them by pattern= or from dataset="
    which = "not in the gallery; " if names and value != SAME else ""
    raise UserError(f"exclude_{label}={value}: {which}{there}{more}{hint}")


def _excluded(label: str, value: Any, own: list[str]) -> list[str] | None:
    """Return the camera or session to exclude for each query, whose own are given."""
    if value is None:
        return None
    if value != SAME:
        return [str(value)] * len(own)
    if unknown := own.count(NO_NAME):
        CONSOLE.print(
            f"note: the {label}s of {unknown:,} of {len(own):,} queries are unknown, so no "
            f"{label} is excluded for them; pattern= reads {label}s from paths"
        )
    return own


def _described(row: SearchRow) -> dict[str, Any]:
    return {
        **row.query._asdict(),
        "hits": [{"rank": rank, **asdict(hit)} for rank, hit in enumerate(row.hits, 1)],
    }


def _summary(rankings: Sequence[SearchRow], gallery: GalleryIndex) -> str:
    """Return the numbers of queries and hits, and of correct first hits if known."""
    hits = sum(len(row.hits) for row in rankings)
    text = (
        f"{counted(len(rankings), 'query', 'queries')} in {counted(len(gallery), 'image')} "
        f"({gallery.kind}): {counted(hits, 'hit')}"
    )
    judged = [row for row in rankings if row.query.identity and row.hits]
    if any(row.hits[0].identity for row in judged):
        right = sum(row.hits[0].identity == row.query.identity for row in judged)
        text += f"\nthe first hit shows the query's person in {right:,} of {len(judged):,}"
    return text
