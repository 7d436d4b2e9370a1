"""IDF1 over all cameras: how well predicted identities agree with the true ones, box by box."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Entries = tuple[Ints, Ints, Ints]
"""Rows, columns and values of a sparse matrix; values of one place are summed."""

COLUMNS = ("camera", "frame", "identity", "x1", "y1", "x2", "y2")
"""Columns of both tables; others are ignored."""

IOU = 0.5
"""Smallest intersection over union of a true and a predicted box that match."""

ROUNDING = 1e-12
"""An IoU of exactly 0.5 matches wherever the boxes lie: what rounding takes off is allowed."""

PAIRS = 1 << 19
"""Pairs of boxes compared at a time."""


@dataclass(frozen=True, eq=False)
class _Side:
    """Boxes of one table, sorted by group (the boxes of a camera in a frame) and x1.

    Attributes:
        groups: (N,) group, numbered over both tables.
        cameras: (N,) camera, numbered over both tables.
        identities: (N,) identity, numbered from 0.
        corners: (N, 4) x1, y1, x2, y2.
    """

    groups: Ints
    cameras: Ints
    identities: Ints
    corners: Floats


def identity_f1(truth: pa.Table, predicted: pa.Table) -> dict[str, Any]:
    """Compute IDF1, IDP and IDR with identities that hold over all cameras.

    True and predicted identities are matched one to one so that as many boxes as possible agree: a
    true and a predicted box of one camera and frame with IoU >= 0.5. One person called 7 in one
    camera and 9 in another is one true identity and two predicted ones, and scores 0.5. The result
    is that of TrackEval's Identity metric for the concatenated frames of all cameras.

    Args:
        truth: Table with the columns camera, frame, identity, x1, y1, x2, y2. Identities are text
            (``1`` and ``01`` differ); null is a box without one, which counts as an identity of its
            own.
        predicted: Table with the same columns. A camera that is missing here is all misses.

    Returns:
        Fractions ``idf1``, ``idp`` and ``idr``, and in ``per_camera`` the same three for each
        camera by itself: figures within cameras, which do not see if identities hold across them.
        Without any box all are 0, as in TrackEval.

    Raises:
        TypeError: A column has the wrong type.
        ValueError: A column is missing or has nulls, a box is not finite or ends before it begins,
            or an identity has two boxes in one frame of a camera.

    >>> boxes = {"frame": [0, 0], "x1": [0, 0], "y1": [0, 0], "x2": [9, 9], "y2": [9, 9]}
    >>> truth = pa.table({"camera": ["hall", "yard"], "identity": ["anna", "anna"], **boxes})
    >>> predicted = pa.table({"camera": ["hall", "yard"], "identity": ["7", "9"], **boxes})
    >>> scores = identity_f1(truth, predicted)
    >>> scores["idf1"], scores["per_camera"]["hall"]["idf1"]
    (0.5, 1.0)
    """
    names, (true, found) = _sides((_checked("truth", truth), _checked("predicted", predicted)))
    # Identities of one camera are numbered by themselves; those of all cameras are sums of them.
    trues, true_cameras, true_identities = _within_cameras(true)
    founds, _, found_identities = _within_cameras(found)
    rows, columns, counts = _agreement(true, found, trues, founds)
    overall = true_identities[rows], found_identities[columns], counts
    per_camera = {}
    for camera, name in enumerate(names):
        own = true_cameras[rows] == camera
        sizes = int((true.cameras == camera).sum()), int((found.cameras == camera).sum())
        per_camera[name] = _scores((rows[own], columns[own], counts[own]), *sizes)
    return {**_scores(overall, len(truth), len(predicted)), "per_camera": per_camera}


def _checked(name: str, table: pa.Table) -> pa.Table:
    """Return the columns of a table in their types, identities with nulls numbered.

    Raises:
        TypeError: A column has the wrong type.
        ValueError: A column is missing, or a value is invalid.
    """
    if not isinstance(table, pa.Table):
        raise TypeError(f"{name} must be a pyarrow.Table, got {type(table).__name__}")
    if missing := [column for column in COLUMNS if column not in table.column_names]:
        raise ValueError(f"{name} lacks the columns {', '.join(missing)}")
    kinds = {"camera": pa.string(), "frame": pa.int64(), "identity": pa.string()}
    columns = {}
    for column in COLUMNS:
        values = table[column]
        kind = kinds.get(column, pa.float64())
        if kind == pa.string() and pa.types.is_floating(values.type):
            raise TypeError(f"{name}: {column} must be text, got {values.type}; 7.0 is no name")
        try:
            columns[column] = values.cast(kind)
        except pa.ArrowException as error:
            raise TypeError(f"{name}: {column} must be {kind}, got {values.type}") from error
        if column != "identity" and columns[column].null_count:
            raise ValueError(f"{name}: {column} has {columns[column].null_count} nulls")
    result = pa.table(columns).combine_chunks()
    corners = _corners(result)
    bad = ~np.isfinite(corners).all(axis=1) | (corners[:, 2:] < corners[:, :2]).any(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{name}: row {row} has the box {corners[row].tolist()}; x1 <= x2 and y1 <= y2 must be "
            "finite"
        )
    return result


def _sides(tables: tuple[pa.Table, pa.Table]) -> tuple[list[str], list[_Side]]:
    """Return the names of the cameras, and both tables with numbers for names.

    Raises:
        ValueError: An identity has two boxes in one frame of a camera.
    """
    cameras = pa.chunked_array([table["camera"].combine_chunks() for table in tables])
    names = sorted(pc.unique(cameras).to_pylist())
    codes = [pc.index_in(table["camera"], pa.array(names, pa.string())) for table in tables]
    numbers = [code.to_numpy().astype(np.int64) for code in codes]
    frames = [table["frame"].to_numpy() for table in tables]
    groups = _groups(np.concatenate(numbers), np.concatenate(frames))
    sides = []
    for name, table, number, group in zip(
        ("truth", "predicted"), tables, numbers, np.split(groups, [len(tables[0])]), strict=True
    ):
        identities = _identities(table["identity"].combine_chunks())
        order = np.lexsort((identities, group))
        same = (np.diff(group[order]) == 0) & (np.diff(identities[order]) == 0)
        if same.any():
            row = int(order[np.flatnonzero(same)[0]])
            found = (table[column][row].as_py() for column in ("identity", "camera", "frame"))
            raise ValueError(
                "{}: identity {!r} has two boxes in camera {!r}, frame {}".format(name, *found)
            )
        corners = _corners(table)
        order = np.lexsort((corners[:, 0], group))
        sides.append(_Side(group[order], number[order], identities[order], corners[order]))
    return names, sides


def _groups(cameras: Ints, frames: Ints) -> Ints:
    """Return the number of the group of each box, ascending by camera and frame."""
    order = np.lexsort((frames, cameras))
    is_new = (np.diff(cameras[order]) != 0) | (np.diff(frames[order]) != 0)
    groups = np.empty(len(order), np.int64)
    groups[order] = np.concatenate([[0], np.cumsum(is_new)])[: len(order)]
    return groups


def _identities(identities: pa.Array) -> Ints:
    """Return the number of each identity; nulls have numbers of their own."""
    encoded = identities.dictionary_encode()
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    numbers: Ints = indices.astype(np.int64)
    unnamed = np.flatnonzero(numbers < 0)
    numbers[unnamed] = len(encoded.dictionary) + np.arange(len(unnamed))
    return numbers


def _corners(table: pa.Table) -> Floats:
    corners: Floats = np.stack([table[column].to_numpy() for column in COLUMNS[3:]], axis=1)
    return corners


def _within_cameras(side: _Side) -> tuple[Ints, Ints, Ints]:
    """Return numbers for the identities of each camera.

    Returns:
        (N,) numbers of the boxes; (M,) camera and (M,) identity of each number.
    """
    order = np.lexsort((side.identities, side.cameras))
    cameras, identities = side.cameras[order], side.identities[order]
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = (np.diff(cameras) != 0) | (np.diff(identities) != 0)
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(is_new) - 1
    return numbers, cameras[is_new], identities[is_new]


def _agreement(true: _Side, found: _Side, trues: Ints, founds: Ints) -> Entries:
    """Return the numbers of matching boxes of each true and predicted identity of a camera."""
    width = int(founds.max(initial=0)) + 1
    parts = [
        np.unique(trues[a] * width + founds[b], return_counts=True)
        for a, b in _matching_pairs(true, found)
    ]
    nothing = np.empty(0, np.int64)
    keys = np.concatenate([nothing, *(keys for keys, _ in parts)])
    counts = np.concatenate([nothing, *(counts for _, counts in parts)])
    return keys // width, keys % width, counts


def _matching_pairs(true: _Side, found: _Side) -> Iterator[tuple[Ints, Ints]]:
    """Yield rows of true and predicted boxes that match, in blocks.

    Boxes with IoU >= 0.5 overlap by half the width of the wider one, so that x1 of the predicted
    box is from x1 - width to x1 + width / 2 of the true one.
    """
    left, widths = true.corners[:, 0], true.corners[:, 2] - true.corners[:, 0]
    slack = 1e-9 * (np.abs(left) + widths)
    begin = _ranks(found, true.groups, left - widths - slack)
    counts = _ranks(found, true.groups, left + widths / 2 + slack) - begin
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = int(ends[start] - counts[start])
        stop = max(start + 1, int(np.searchsorted(ends, done + PAIRS, "right")))
        block = counts[start:stop]
        a = np.repeat(np.arange(start, stop), block)
        offsets = ends[start:stop] - block - done
        b = np.arange(len(a)) + np.repeat(begin[start:stop] - offsets, block)
        is_match = _iou(true.corners[a], found.corners[b]) >= IOU - ROUNDING
        yield a[is_match], b[is_match]
        start = stop


def _ranks(side: _Side, groups: Ints, lefts: Floats) -> Ints:
    """Return how many boxes of a side come before each (group, x1)."""
    count = len(side.groups)
    order = np.lexsort(
        (np.concatenate([side.corners[:, 0], lefts]), np.concatenate([side.groups, groups]))
    )
    before = np.empty(len(order), np.int64)
    before[order] = np.cumsum(order < count)
    return before[count:]


def _iou(a: Floats, b: Floats) -> Floats:
    """Return (P,) intersection over union of boxes (P, 4), 0 without area."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    overlap = sides.clip(min=0).prod(axis=1)
    union = (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1) - overlap
    result: Floats = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return result


def _scores(agreement: Entries, trues: int, founds: int) -> dict[str, float]:
    """Return IDF1, IDP and IDR of the best one-to-one match of identities.

    Args:
        agreement: Numbers of matching boxes by true and predicted identity.
        trues: Number of true boxes.
        founds: Number of predicted boxes.
    """
    agreeing = _most_agreeing(*agreement)
    return {
        "idf1": 2 * agreeing / max(1, trues + founds),
        "idp": agreeing / max(1, founds),
        "idr": agreeing / max(1, trues),
    }


def _most_agreeing(rows: Ints, columns: Ints, counts: Ints) -> int:
    """Return the largest sum of entries with at most one in each row and column."""
    if not len(counts):
        return 0
    rows, columns = (np.unique(side, return_inverse=True)[1] for side in (rows, columns))
    agreement = coo_array((counts, (rows, columns)))
    agreement.sum_duplicates()
    # A full match of the rows exists, since each has a column of its own that means no partner.
    dearest, (size, width) = int(agreement.data.max()) + 1, agreement.shape
    costs = np.concatenate([dearest - agreement.data, np.full(size, dearest)])
    own_rows = np.concatenate([agreement.row, np.arange(size)])
    own_columns = np.concatenate([agreement.col, width + np.arange(size)])
    choices = csr_array((costs, (own_rows, own_columns)))
    matched = min_weight_full_bipartite_matching(choices)
    return int(size * dearest - choices[matched].sum())
