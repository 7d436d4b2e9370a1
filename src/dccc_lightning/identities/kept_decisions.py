"""decisions.csv of an output folder: the decisions that made its identities, for later ones."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dccc_lightning.clustering.constraint_file import NAME, SAME, DecisionRow, read_rows
from dccc_lightning.common.files import write_atomically
from dccc_lightning.common.text_files import csv_text

FILE = "decisions.csv"
"""Name of the file in an output folder."""


def kept_rows(folder: Path, removed: Collection[str]) -> list[DecisionRow]:
    """Read the decisions of an output folder about pairs of images.

    Where images are the same as a removed one, the decisions about it pass to the first of them
    that is left.

    Args:
        folder: Output folder of ``task=identify``; without the file there are no decisions.
        removed: Paths of images that are no longer there.

    Raises:
        UserError: The file is damaged.
    """
    if not (folder / FILE).is_file():
        return []
    rows = [row for row in read_rows(folder / FILE) if row.decision != NAME]
    if removed:
        heir = _heirs(rows, removed)
        rows = [
            row._replace(first=heir[row.first], second=heir[row.second])
            for row in rows
            if row.first in heir and row.second in heir
        ]
    return [row for row in rows if row.first != row.second]


def _heirs(rows: Sequence[DecisionRow], removed: Collection[str]) -> dict[str, str]:
    """Return the image that stands for each; none if it is removed and the same as no other."""
    paths = sorted({path for row in rows for path in (row.first, row.second)})
    numbers = {path: number for number, path in enumerate(paths)}
    same = [row for row in rows if row.decision == SAME]
    ends = [
        np.array([numbers[path] for path in side], dtype=np.int64)
        for side in (
            [row.first for row in same],
            [row.second for row in same],
        )
    ]
    links = coo_matrix((np.ones(len(same)), (ends[0], ends[1])), shape=(len(paths), len(paths)))
    parts = connected_components(links, directed=False)[1].tolist()
    first: dict[int, str] = {}
    for path, part in zip(paths, parts, strict=True):
        if path not in removed:
            first.setdefault(part, path)
    return {
        path: first[part] if path in removed else path
        for path, part in zip(paths, parts, strict=True)
        if path not in removed or part in first
    }


def joined(kept: Iterable[DecisionRow], given: Sequence[DecisionRow]) -> list[DecisionRow]:
    """Return kept and given decisions; a given one replaces a kept one about its two images."""

    def pair(row: DecisionRow) -> frozenset[str]:
        return frozenset((row.first, row.second))

    decided = {pair(row) for row in given if row.decision != NAME}
    return [*(row for row in kept if pair(row) not in decided), *given]


def write_kept(folder: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write the decisions (image, decision, image) of an output folder, each once, or no file."""
    once = dict.fromkeys(rows)
    if not once:
        (folder / FILE).unlink(missing_ok=True)
        return
    text = csv_text([("first", "decision", "second"), *once])
    write_atomically(folder / FILE, text.encode("utf-8", "surrogateescape"))
