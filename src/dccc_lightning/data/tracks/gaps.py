"""Boxes in the gaps of tracks, on a straight line between the boxes before and after."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dccc_lightning.common import checks

CORNERS = ("x1", "y1", "x2", "y2")
FILLED = "filled"
"""Column that is true for boxes that no detector reported."""


def fill_gaps(tracks: pa.Table, longest: int = 20) -> pa.Table:
    """Return tracks with boxes in the frames in which an identity was lost for a while.

    Corners move at constant speed from the box before to the box after a gap. Of a table with the
    column ``identity`` gaps are those of identities: also between tracks that are one identity, and
    never between the pieces of a track that are two. Of other tables they are those of tracks. An
    identity with two boxes in one frame is left as it is there.

    Args:
        tracks: Result of ``with_identities`` or ``read_tracks``, of one camera.
        longest: Largest number of frames of a gap that is filled.

    Returns:
        The table with the column ``filled``, sorted by frame. Filled boxes have no score, and no
        track if those before and after differ; other columns are those of the box before.

    Raises:
        TypeError: ``longest`` is no integer.
        ValueError: It is negative.

    >>> boxes = {"x1": [0.0, 9.0], "y1": [0.0, 3.0], "x2": [5.0, 14.0], "y2": [9.0, 12.0]}
    >>> two = {"frame": [4, 7], "track": ["1", "1"], **boxes, "score": [0.9, 0.8]}
    >>> fill_gaps(pa.table(two)).select(["frame", "x1", "y2", "filled"]).to_pylist()[1:3]
    [{'frame': 5, 'x1': 3.0, 'y2': 10.0, 'filled': True}, \
{'frame': 6, 'x1': 6.0, 'y2': 11.0, 'filled': True}]
    """
    checks.integer("longest", longest, 0)
    before, after, steps, sizes = _gaps(tracks, longest)
    start, end = tracks.take(pa.array(before)), tracks.take(pa.array(after))
    added = {name: start[name] for name in tracks.column_names}
    added["frame"] = pa.array(start["frame"].to_numpy() + steps)
    share = steps / sizes
    for name in CORNERS:
        low, high = start[name].to_numpy(), end[name].to_numpy()
        added[name] = pa.array(low + (high - low) * share)
    nothing = pa.nulls(len(before))
    added["score"] = nothing.cast(tracks["score"].type)
    pairs = zip(start["track"].to_pylist(), end["track"].to_pylist(), strict=True)
    same = [one if one == other else None for one, other in pairs]
    added["track"] = pa.array(same, tracks["track"].type)
    found = pa.concat_tables([tracks, pa.table(added, tracks.schema)])
    is_filled = np.arange(len(found)) >= len(tracks)
    return found.append_column(FILLED, pa.array(is_filled)).sort_by("frame")


def _gaps(tracks: pa.Table, longest: int) -> tuple[NDArray[np.int64], ...]:
    """Return the row before and after each box to add, steps from the former, and all steps."""
    name = "identity" if "identity" in tracks.column_names else "track"
    names = tracks[name].combine_chunks().dictionary_encode().indices
    owners = names.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    frames = tracks["frame"].to_numpy()
    order = np.lexsort([frames, owners])
    owners, frames = owners[order], frames[order]
    follows = np.diff(owners) == 0
    sizes = np.diff(frames)
    twice = follows & (sizes == 0)
    is_gap = follows & (owners[1:] >= 0) & (sizes > 1) & (sizes <= longest + 1)
    is_gap[1:] &= ~twice[:-1]
    is_gap[:-1] &= ~twice[1:]
    at = np.flatnonzero(is_gap)
    counts = sizes[at] - 1
    gap = np.repeat(np.arange(len(at)), counts)
    steps = np.arange(len(gap)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    return order[at][gap], order[at + 1][gap], steps, sizes[at][gap]
