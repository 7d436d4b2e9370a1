"""Search for images that turn: the query at each turn, and of each image the best score."""

import numpy as np

from dccc_lightning.common.turning_ranges import ALIGNED
from dccc_lightning.gallery.exact_search import NONE, Floats, Ints, Scores
from dccc_lightning.gallery.gallery_search import GallerySearch
from dccc_lightning.neighbors.turned_rows import TURNS, shifted


def nearest(
    search: GallerySearch,
    fingerprint: str,
    queries: Floats,
    k: int,
    seen: Ints,
    excluded: Ints,
) -> tuple[Scores, Ints]:
    """Find the images of highest similarity, as ``exact_search.search``.

    Args:
        search: Search of the gallery.
        fingerprint: Model of the gallery; if it is aligned, so is the comparison.
        queries: (Q, D).
        k: Results per query.
        seen: (N, L) labels of the gallery, such as cameras and sessions.
        excluded: (Q, L) value of each label to exclude for each query, or ``NONE``.
    """
    if not fingerprint.endswith(ALIGNED) or not len(queries):
        return search.nearest(queries, k, seen, excluded)
    scores, found = search.nearest(shifted(queries), k, seen, np.tile(excluded, (TURNS, 1)))
    beside = [
        np.concatenate(np.split(part, TURNS), axis=1)  # (Q, R k)
        for part in (scores, found)
    ]
    return _best(beside[0], beside[1], k)


def _best(scores: Scores, found: Ints, k: int) -> tuple[Scores, Ints]:
    """Return the ``k`` best of results (Q, M), each image with its highest score."""
    scores, found = _ordered(np.lexsort((-scores, found), axis=1), scores, found)
    found[:, 1:][found[:, 1:] == found[:, :-1]] = NONE
    order = np.lexsort((found, -scores, found == NONE), axis=1)[:, :k]
    scores, found = _ordered(order, scores, found)
    scores[found == NONE] = 0
    return scores, found


def _ordered(order: Ints, scores: Scores, found: Ints) -> tuple[Scores, Ints]:
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)
