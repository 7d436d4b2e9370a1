"""Near-duplicates in a dataset: different files with similar perceptual hashes."""

from collections.abc import Sequence

import numpy as np

from dccc_lightning.data.audit.inspection import Inspection
from dccc_lightning.data.audit.near_duplicates import Indices, NearDuplicateSearch
from dccc_lightning.data.audit.split_images import SPLITS, VIEW, SplitImage, is_one_sighting
from dccc_lightning.data.records import UNKNOWN

OTHER, LEAKED, TWO_IDENTITIES, QUERY_IN_GALLERY = range(4)
TITLES = {
    LEAKED: ("near_leaked", "near-duplicates in training and test"),
    TWO_IDENTITIES: ("near_two_identities", "near-duplicates under two identities"),
    QUERY_IN_GALLERY: ("near_query_in_gallery", "queries with a near-duplicate as a match"),
    OTHER: ("near_duplicates", "other near-duplicates"),
}
"""Keys and titles of the kinds of pairs, most severe first."""


def near_duplicates(
    images: Sequence[SplitImage], inspections: Sequence[Inspection]
) -> dict[int, tuple[str, ...]]:
    """Return pairs of similar images by kind, one line per pair.

    Pairs are chosen as in ``NearDuplicateSearch.pairs``. Files of equal content count as one image;
    ``verification`` reports them separately.

    Args:
        images: N images.
        inspections: Inspection of each image.
    """
    firsts: dict[bytes, int] = {}
    for place, look in enumerate(inspections):
        if look.likeness is not None and look.digest is not None:
            firsts.setdefault(look.digest, place)
    places = list(firsts.values())
    hashes = [likeness for p in places if (likeness := inspections[p].likeness) is not None]
    chosen = [images[place] for place in places]
    split = np.array([SPLITS.index(image.split) for image in chosen], dtype=np.int64)
    identity = np.array([image.identity for image in chosen], dtype=np.int64)
    views = np.array([image[VIEW] for image in chosen], dtype=np.int64).reshape(-1, 3).T

    def kind_of(one: Indices, other: Indices) -> Indices:
        is_same = identity[one] == identity[other]
        is_known = (identity[one] != UNKNOWN) & (identity[other] != UNKNOWN)
        is_filtered = is_one_sighting(views[:, one], views[:, other])
        is_searched = (split[one] != split[other]) & is_same & is_known & ~is_filtered
        return np.select(
            [(split[one] == 0) != (split[other] == 0), is_known & ~is_same, is_searched],
            [LEAKED, TWO_IDENTITIES, QUERY_IN_GALLERY],
            OTHER,
        )

    _, group = np.unique(np.stack([split, identity], axis=1), axis=0, return_inverse=True)
    found: dict[int, list[str]] = {kind: [] for kind in TITLES}
    search = NearDuplicateSearch(hashes, group.reshape(-1).astype(np.int64), len(TITLES), kind_of)
    for pair in search.pairs():
        one, other = chosen[pair.first].name, chosen[pair.second].name
        found[pair.kind].append(f"{one} ~ {other} ({pair.bits} bits)")
    return {kind: tuple(items) for kind, items in found.items()}
