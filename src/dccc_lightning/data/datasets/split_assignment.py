"""Assignment of custom images to training, query and gallery."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from dccc_lightning.data.datasets.image_labels import GALLERY, QUERY, TEST, TRAIN, ImageLabels


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
            if choose_queries([images[position].camera for position in positions])
        ]
        for identity in choose_identities(possible, test_share):
            for position in members[identity]:
                splits[position] = TEST
    for positions in members.values():
        tested = [position for position in positions if splits[position] == TEST]
        for chosen in choose_queries([images[position].camera for position in tested]):
            splits[tested[chosen]] = QUERY
    return [GALLERY if split == TEST else split for split in splits]


def choose_identities(identities: Sequence[str], share: float) -> list[str]:
    """Choose a share of the identities, at least one unless the share is 0.

    The first identities by SHA-256 of their names are chosen: a choice that does not depend on
    their order or a random seed, and that changes little when identities are added.
    """
    count = int(share * len(identities) + 0.5)
    if share > 0:
        count = max(count, 1)
    return sorted(identities, key=lambda name: hashlib.sha256(name.encode()).digest())[:count]


def choose_queries(cameras: Sequence[str]) -> list[int]:
    """Choose the queries among the images of one identity.

    For each camera in sorted order, its first image becomes a query if every query still has a
    match among the remaining images: one of another camera, or any image if a camera is unknown
    (empty).

    Args:
        cameras: Cameras of the images, in the order of their paths.

    Returns:
        Positions of the queries; empty if the identity cannot be evaluated.

    >>> choose_queries(["a", "a", "b", "b"])
    [0, 2]
    >>> choose_queries(["a", "b"])
    [0]
    >>> choose_queries(["a", "a"]), choose_queries(["", ""])
    ([], [0])
    """
    gallery = Counter(cameras)
    queries: dict[str, int] = {}
    for camera in sorted(gallery):
        gallery[camera] -= 1
        left = gallery.total()
        if all(left > (gallery[other] if other else 0) for other in (*queries, camera)):
            queries[camera] = cameras.index(camera)
        else:
            gallery[camera] += 1
    return sorted(queries.values())
