"""Valid queries: those with a match in the gallery under another camera."""

import logging

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.records import UNKNOWN, Records, Splits
from dccc_lightning.errors import UserError

log = logging.getLogger(__name__)


def has_match(query: Records, gallery: Records) -> NDArray[np.bool_]:
    """Return a mask (Q,) of the queries with a match, by the rules of ``evaluate_retrieval``."""
    matches = _count(query.identities, gallery.identities)
    pairs = np.stack([gallery.identities, gallery.cameras], axis=1)
    mine = np.stack([query.identities, query.cameras], axis=1)
    _, codes = np.unique(np.concatenate([mine, pairs]), axis=0, return_inverse=True)
    same_camera = _count(codes[: len(query)], codes[len(query) :])
    left_out = np.where(query.cameras == UNKNOWN, 0, same_camera)
    return np.asarray((query.identities != UNKNOWN) & (matches > left_out))


def _count(wanted: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count each of ``wanted`` among ``values``."""
    ordered = np.sort(values)
    return np.searchsorted(ordered, wanted, "right") - np.searchsorted(ordered, wanted)


def count_queries(splits: Splits) -> dict[str, int]:
    """Return the number of queries and of valid queries, for results.json."""
    scored = has_match(splits.query, splits.gallery)
    return {"query": len(scored), "scored_queries": int(scored.sum())}


def check_queries(splits: Splits) -> int:
    """Return the number of valid queries; log a warning if some are not.

    Raises:
        UserError: No query is valid, or the gallery is empty.
    """
    total = len(splits.query)
    if total and len(splits.gallery):
        scored = int(has_match(splits.query, splits.gallery).sum())
        if scored:
            if scored < total:
                log.warning(
                    "%s: %d of %d queries have no match in the gallery and do not count",
                    *(splits.name, total - scored, total),
                )
            return scored
    reason = seen_by_one_camera(splits)
    if reason and bool(total) == bool(
        len(splits.gallery)
    ):  # else the message on an empty split is clearer
        raise UserError(f"{reason}; check the cameras, or leave them out to match within a camera")
    if total and len(splits.gallery):
        raise UserError(
            f"{splits.name}: none of {total} queries in {splits.root} has a match in the gallery "
            "under another camera, so nothing to evaluate on"
        )
    missing = "query" if not total else "gallery"
    raise UserError(
        f"{splits.name}: no {missing} images in {splits.root}, so nothing to evaluate on"
    )


def seen_by_one_camera(splits: Splits) -> str | None:
    """Return an error message if every identity has one known camera only; else None."""
    parts = splits.train, splits.query, splits.gallery
    identities = np.concatenate([part.identities for part in parts])
    cameras = np.concatenate([part.cameras for part in parts])
    known = identities != UNKNOWN
    pairs = np.unique(np.stack([identities[known], cameras[known]], axis=1), axis=0)
    people = len(np.unique(pairs[:, 0]))
    if not people or len(pairs) > people or UNKNOWN in pairs[:, 1]:
        return None
    return (
        f"{splits.name}: each of the {people} identities in {splits.root} was seen by one camera "
        "only, so no query has a match under another"
    )
