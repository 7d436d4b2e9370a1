"""Warnings of clustering settings that cannot work on a training split, before any epoch."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.records import UNKNOWN, Records

MOST_K1 = 30
"""Published k1, the largest that is proposed from the number of images."""

LARGE_K1 = 2.0
"""k1 in roots of the number of images, above which neighbourhoods reach across identities."""

FEW_IN_CAMERA = 3
"""Images from which a camera has a covariance of its own."""

_OF_CAMERA = ("whiten", "center", "proxies")


def proposed_k1(images: int) -> int:
    """Return a k1 for a number of images: its root, from 4 to the published 30.

    Measured on samples of 60 to 1,000 photographs of 23 cows, see docs/photographs.md.

    >>> [proposed_k1(images) for images in (10, 60, 250, 900, 12_936)]
    [4, 8, 16, 30, 30]
    """
    return min(MOST_K1, max(4, round(math.sqrt(images))))


def setting_alarms(train: Records, clustering: Mapping[str, Any]) -> list[str]:
    """Return a sentence, with a remedy, for every setting that does not fit the images.

    Args:
        train: Training images; identities, where known, are counted only.
        clustering: Settings of ``PseudoLabeler``, ``algorithm`` among them.
    """
    found = []
    camera = clustering.get("camera", "none")
    images, k1 = len(train), clustering.get("k1")
    if isinstance(k1, int) and camera != "ca_jaccard" and k1 > LARGE_K1 * math.sqrt(images):
        found.append(
            f"clustering.k1={k1} is large for {images} images, so clusters will join individuals: "
            f"try clustering.k1={proposed_k1(images)}"
        )
    algorithm = clustering.get("algorithm")
    least = algorithm.get("min_samples") if isinstance(algorithm, Mapping) else None
    if isinstance(least, int) and (rare := _too_rare(train.identities, least)):
        found.append(rare)
    return found + _small_cameras(train.cameras, camera, clustering)


def _too_rare(identities: NDArray[np.int64], least: int) -> str | None:
    """Return a sentence if most known identities have too few images for a dense point."""
    counts = np.unique(identities[identities != UNKNOWN], return_counts=True)[1]
    if not len(counts) or np.median(counts) >= least:
        return None
    usual = int(np.median(counts))
    return (
        f"clustering.algorithm.min_samples={least}, but {(counts < least).sum()} of {len(counts)} "
        f"identities have fewer images: try clustering.algorithm.min_samples={max(usual, 2)}"
    )


def _small_cameras(
    cameras: NDArray[np.int64], camera: str, clustering: Mapping[str, Any]
) -> list[str]:
    """Return a sentence if most images are of cameras with too few for the treatment of cameras."""
    counts = np.unique(cameras[cameras != UNKNOWN], return_counts=True)[1]
    if camera == "ca_jaccard":
        needed, remedy = clustering.get("k1_intra", 0) + 1, "lower clustering.k1_intra, or try "
    elif camera in _OF_CAMERA:
        needed, remedy = FEW_IN_CAMERA, "try "
    else:
        return []
    small = counts < needed
    if 2 * counts[small].sum() <= counts.sum():
        return []
    return [
        f"clustering.camera={camera} needs {needed} images of a camera, but {small.sum()} of "
        f"{len(counts)} cameras have fewer: {remedy}clustering.camera=none"
    ]
