"""Queries and gallery of a protocol, arranged from the labels of a test split."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.records import UNKNOWN, Records
from dccc_lightning.metrics.protocols import DRAWS, LABELS, Protocol

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Queries and gallery of a protocol.

    A unit is an image, or a tracklet where the protocol pools them.

    Attributes:
        protocol: Rules of the evaluation.
        labels: (U,) of the units, by name; ``image`` is the number of the unit.
        units: (N,) unit of each image of the split; None if each image is its own.
        query: Units that are queries, before drawing.
        gallery: Units of the gallery, before drawing.
    """

    protocol: Protocol
    labels: Mapping[str, Ints]
    units: Ints | None
    query: Ints
    gallery: Ints

    def draws(self) -> Iterator[tuple[Ints, Ints]]:
        """Yield the queries and the gallery of each draw; once if nothing is drawn."""
        if not self.protocol.draw:
            yield self.query, self.gallery
            return
        names = [name for name in self.protocol.draw if name in self.labels]
        columns = [self.labels[name][self.gallery] for name in names]
        groups = _codes(columns, own=self.labels["identity"][self.gallery] == UNKNOWN)
        for draw in range(DRAWS):
            order = random_order(draw, len(self.gallery))
            _, first = np.unique(groups[order], return_index=True)
            gallery = self.gallery[np.sort(order[first])]
            if self.protocol.test == "drawn":
                yield self.query[~np.isin(self.query, gallery)], gallery
            else:
                yield self.query, gallery


def random_order(draw: int, count: int) -> Ints:
    """Return the images of a gallery in the order in which a draw chooses them, (count,).

    The order is a function of the number of the draw and the size of the gallery.

    >>> sorted(random_order(0, 4).tolist())
    [0, 1, 2, 3]
    """
    return np.random.default_rng([draw, count]).permutation(count)


def arrange(protocol: Protocol, labels: Mapping[str, Ints], queries: int) -> Arrangement:
    """Arrange the queries and the gallery of a protocol.

    Args:
        protocol: Rules of the evaluation.
        labels: (N,) of the query images followed by the gallery images, by name, with identity and
            camera.
        queries: Number of query images.
    """
    query, gallery = np.split(np.arange(len(labels["identity"])), [queries])
    if protocol.query_cameras:
        query = query[np.isin(labels["camera"][query], protocol.query_cameras)]
    if protocol.gallery_cameras:
        gallery = gallery[np.isin(labels["camera"][gallery], protocol.gallery_cameras)]
    units = None
    if protocol.pools_tracklets:
        units, query, gallery = _pooled(labels, query, gallery)
        first = np.unique(units, return_index=True)[1]
        labels = {name: values[first] for name, values in labels.items()}
    if protocol.test != "split":
        query = gallery = np.concatenate([query, gallery])
    count = len(labels["identity"])
    return Arrangement(protocol, {**labels, "image": np.arange(count)}, units, query, gallery)


def _pooled(labels: Mapping[str, Ints], query: Ints, gallery: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the unit of each image, and the units of query and gallery.

    A tracklet is of one split, identity, camera and session; an image without tracklet is its own
    unit.
    """
    count = len(labels["identity"])
    unknown = np.full(count, UNKNOWN)
    is_query = np.zeros(count, dtype=np.int64)
    is_query[query] = 1
    tracklets, sessions = (labels.get(name, unknown) for name in ("tracklet", "session"))
    columns = [is_query, labels["identity"], labels["camera"], sessions, tracklets]
    codes = _codes(columns, own=tracklets == UNKNOWN)
    # Number the units by their first image, so that they keep its order.
    first, inverse = np.unique(codes, return_index=True, return_inverse=True)[1:]
    units = first.argsort().argsort()[inverse]
    return units, np.unique(units[query]), np.unique(units[gallery])


def _codes(columns: Sequence[Ints], own: NDArray[np.bool_]) -> Ints:
    """Return equal numbers for equal rows, and a number of its own for each row in ``own``."""
    codes: Ints = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].ravel()
    codes[own] = codes.max(initial=-1) + 1 + np.arange(int(own.sum()))
    return codes


def known_labels(records: Records) -> dict[str, Ints]:
    """Return identity, camera and the columns with a known label, by name."""
    columns = {name: records.column(name) for name in LABELS}
    known = {name: values for name, values in columns.items() if (values != UNKNOWN).any()}
    return {"identity": records.identities, "camera": records.cameras, **known}


def split_labels(query: Records, gallery: Records) -> dict[str, Ints]:
    """Return the labels of the query images followed by those of the gallery, by name."""
    ours, theirs = known_labels(query), known_labels(gallery)
    names = [name for name in ("identity", "camera", *LABELS) if name in ours or name in theirs]
    missing = [
        {name: np.full(len(records), UNKNOWN) for name in names} for records in (query, gallery)
    ]
    return {
        name: np.concatenate([(missing[0] | ours)[name], (missing[1] | theirs)[name]])
        for name in names
    }
