"""Assignment of custom images to training, query and gallery."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from dccc_lightning.data.datasets.image_labels import GALLERY, QUERY, TEST, TRAIN, ImageLabels
from dccc_lightning.data.datasets.row_files import plain
from dccc_lightning.data.image_list import sighting


def assign_splits(images: Sequence[ImageLabels], test_share: float) -> list[str]:
    """Return the split of each image: train, query or gallery.

    If any image has a split, images without one are for training. Otherwise ``choose_identities``
    selects ``test_share`` of the evaluable identities for test; all other images are for training.
    Test images are gallery if any image is a query. Otherwise ``choose_queries`` divides the test
    images of each identity; test images without an identity are gallery.

    Args:
        images: Images sorted by path.
        test_share: Share of the evaluable identities in [0, 1].

    >>> images = [ImageLabels(f"{c}{i}.png", c, "anna") for c in "ab" for i in range(2)]
    >>> assign_splits(images, test_share=1.0)
    ['query', 'gallery', 'query', 'gallery']
    >>> assign_splits(images, test_share=0.0)
    ['train', 'train', 'train', 'train']
    """
    splits = [image.split or TRAIN for image in images]
    if QUERY in splits:
        splits = [GALLERY if split == TEST else split for split in splits]
    members: dict[str, list[int]] = {}
    for position, image in enumerate(images):
        if image.identity:
            members.setdefault(image.identity, []).append(position)
    if not any(image.split for image in images):
        possible = [
            identity
            for identity, positions in members.items()
            if choose_queries(*_views(images, positions))
        ]
        for identity in choose_identities(possible, test_share):
            for position in members[identity]:
                splits[position] = TEST
    for positions in members.values():
        tested = [position for position in positions if splits[position] == TEST]
        for chosen in choose_queries(*_views(images, tested)):
            splits[tested[chosen]] = QUERY
    return [GALLERY if split == TEST else split for split in splits]


def _views(images: Sequence[ImageLabels], positions: Sequence[int]) -> tuple[list[str], list[str]]:
    """Return the cameras and the sightings of some images."""
    chosen = [images[position] for position in positions]
    sightings = [sighting(image.camera, image.session, image.tracklet) for image in chosen]
    return [image.camera for image in chosen], sightings


def divide_identities(
    parts: Mapping[str, Sequence[ImageLabels]], test_share: float, distractors: Collection[str]
) -> dict[str, list[ImageLabels]]:
    """Divide the identities of query and gallery into training and test.

    For datasets that tell queries from gallery, but not training from test: ``choose_identities``
    selects ``test_share`` of the identities with both; the images of the others are for training.
    Images of the gallery without a query stay there.

    Args:
        parts: Images of query and gallery.
        test_share: Share of the identities in [0, 1].
        distractors: Identities of the gallery only.
    """
    queried, found = ({image.identity for image in parts[split]} for split in (QUERY, GALLERY))
    both = {i for i in queried & found if i and plain(i) not in distractors}
    tested = set(choose_identities(sorted(both), test_share))
    divided: dict[str, list[ImageLabels]] = {TRAIN: [], QUERY: [], GALLERY: []}
    for split in (QUERY, GALLERY):
        for image in parts[split]:
            stays = image.identity in tested or image.identity not in queried
            divided[split if stays else TRAIN].append(image)
    return divided


def choose_identities(identities: Sequence[str], share: float) -> list[str]:
    """Choose a share of the identities, at least one unless the share is 0.

    The first identities by SHA-256 of their names are chosen: a choice that does not depend on
    their order or a random seed, and that changes little when identities are added.
    """
    count = int(share * len(identities) + 0.5)
    if share > 0:
        count = max(count, 1)
    return sorted(identities, key=lambda name: hashlib.sha256(name.encode()).digest())[:count]


def choose_queries(cameras: Sequence[str], sessions: Sequence[str] = ()) -> list[int]:
    """Choose the queries among the images of one identity.

    For each camera in sorted order, its first image becomes a query if every query still has a
    match among the remaining images: one of another camera and another session, where an unknown
    one (empty) is another.

    Args:
        cameras: Cameras of the images, in the order of their paths.
        sessions: Sessions or tracklets of the images; none if they are unknown.

    Returns:
        Positions of the queries; empty if the identity cannot be evaluated.

    >>> choose_queries(["a", "a", "b", "b"])
    [0, 2]
    >>> choose_queries(["a", "b"])
    [0]
    >>> choose_queries(["a", "a"]), choose_queries(["", ""])
    ([], [0])
    >>> choose_queries(["a", "b"], ["day 1", "day 1"])
    []
    """
    views = list(zip(cameras, sessions or [""] * len(cameras), strict=True))
    gallery = Counter(views)
    queries: dict[tuple[str, str], int] = {}
    for camera in sorted(set(cameras)):
        first = cameras.index(camera)
        gallery[views[first]] -= 1
        left = +gallery  # those with a count above 0
        if all(any(_match(query, view) for view in left) for query in (*queries, views[first])):
            queries[views[first]] = first
        else:
            gallery[views[first]] += 1
    return sorted(queries.values())


def _match(query: tuple[str, str], view: tuple[str, str]) -> bool:
    """Return True if neither camera nor session of two images of an identity is known and equal."""
    return not any(ours and ours == theirs for ours, theirs in zip(query, view, strict=True))
