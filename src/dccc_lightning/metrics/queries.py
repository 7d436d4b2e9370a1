"""Valid queries: those with a match in the gallery by the rules of the protocol."""

import logging
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.records import UNKNOWN, Records, Splits
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.protocol_arrangement import (
    Arrangement,
    arrange,
    known_labels,
    split_labels,
)
from dccc_lightning.metrics.protocols import MARKET1501, Protocol

log = logging.getLogger(__name__)

FEW = 100
"""Queries with a match below which a warning is logged, if there are no cameras."""


def has_match(
    query: Records, gallery: Records, protocol: Protocol = MARKET1501
) -> NDArray[np.bool_]:
    """Return a mask of the protocol's queries with a match; (Q,) where the split gives them."""
    return _has_match(arrange(protocol, split_labels(query, gallery), len(query)))


def _has_match(found: Arrangement) -> NDArray[np.bool_]:
    """Count matches by combinations of labels, of which there are far fewer than images."""
    names = [name for name in found.labels if name != "image"]
    rows = np.stack([found.labels[name] for name in names], axis=1)
    kinds, kind_of = np.unique(rows, axis=0, return_inverse=True)
    kind_of = kind_of.ravel()
    counts = np.bincount(kind_of[found.gallery], minlength=len(kinds))
    asked = np.unique(kind_of[found.query])
    labels = {name: kinds[:, i] for i, name in enumerate(names)}
    identities = labels["identity"]  # ascending, if it is the first column
    start, stop = (np.searchsorted(identities, identities[asked], side) for side in _SIDES)
    sizes = np.where(identities[asked] == UNKNOWN, 0, stop - start)
    pairs = np.repeat(np.arange(len(asked)), sizes)
    columns = np.arange(len(pairs)) - np.repeat(sizes.cumsum() - sizes, sizes) + start[pairs]
    kept = ~found.protocol.left_out(labels, labels, asked[pairs], columns)
    matches = np.bincount(pairs[kept], counts[columns[kept]], minlength=len(asked))
    if found.protocol.test != "split":  # an image of both sides is no match of itself
        own = pairs[kept & (asked[pairs] == columns)]
        matches[own] -= 1
    by_kind = np.zeros(len(kinds), dtype=bool)
    by_kind[asked] = matches > 0
    return by_kind[kind_of[found.query]]


_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


def count_queries(splits: Splits, protocol: Protocol = MARKET1501) -> dict[str, int]:
    """Return the number of queries and of valid queries, for results.json."""
    scored = has_match(splits.query, splits.gallery, protocol)
    return {"query": len(scored), "scored_queries": int(scored.sum())}


def check_queries(splits: Splits, protocol: Protocol = MARKET1501) -> int:
    """Return the number of valid queries; log a warning if some are not.

    Raises:
        UserError: No query is valid, the gallery is empty, or the dataset has no label that the
            protocol needs.
    """
    check_labels(splits, protocol)
    total = len(splits.query)
    if total and len(splits.gallery):
        matched = has_match(splits.query, splits.gallery, protocol)
        scored = int(matched.sum())
        if scored:
            if scored < FEW and (splits.gallery.cameras == UNKNOWN).all():
                log.warning(
                    "%s: %d queries with a match; below %d, scores differ by chance",
                    *(splits.name, scored, FEW),
                )
            if scored < len(matched):
                log.warning(
                    "%s: %d of %d queries have no match in the gallery and do not count",
                    *(splits.name, len(matched) - scored, len(matched)),
                )
            return scored
        if protocol != MARKET1501:
            raise UserError(
                f"{splits.name}: none of {len(matched)} queries in {splits.root} has a match by "
                f"evaluate.protocol={protocol.name}; choose another, such as auto"
            )
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


def check_labels(splits: Splits, protocol: Protocol) -> None:
    """Check that a protocol can be applied to a test split.

    Raises:
        UserError: A label that it needs is unknown for all images, or an image is both query and
            gallery where each is compared with all others.
    """
    known = {*known_labels(splits.query), *known_labels(splits.gallery)}
    if missing := [name for name in protocol.needs() if name not in known]:
        raise UserError(
            f"evaluate.protocol={protocol.name}: {splits.name} in {splits.root} has no "
            f"{missing[0]} of its images; choose another, such as auto"
        )
    shared = set(splits.query.paths) & set(splits.gallery.paths)
    if shared and protocol.test != "split":
        raise UserError(
            f"evaluate.protocol={protocol.name}: {len(shared)} images of {splits.name} in "
            f"{splits.root} are query and gallery, and would match themselves; choose another"
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
