"""Remove the camera from embeddings: subtract its mean, or whiten by its covariance.

Images of one camera resemble each other across identities: light, background and viewpoint are the
same. Cameras are metadata that every surveillance system has; no identity is used. Only the
neighbour search uses these embeddings: the memory keeps the original ones.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dccc_lightning.neighbors.covariance import Moments, differ, subtract, times_root
from dccc_lightning.neighbors.embeddings import UnitEmbeddings

_SAME = 1e-5
"""Largest entry of a difference from a mean that is rounding error and counts as 0."""

_SMALLEST = 1e-12
"""Least eigenvalue of a covariance, relative to its mean eigenvalue; lower ones are raised."""

_WIDE = 1024
"""Dimensions from which a processor whitens in float32 where that is precise enough: below, the
whole takes a second or two."""


def check_cameras(cameras: ArrayLike | None, images: int) -> NDArray[np.int64]:
    """Return the cameras as (N,) int64, -1 where unknown.

    Raises:
        ValueError: No camera is known, or ``cameras`` is not one integer per image.
    """
    if cameras is None or np.max(cameras, initial=-1) < 0:
        raise ValueError("no camera of these images is known")
    known = np.asarray(cameras)
    if known.shape != (images,) or known.dtype.kind not in "iu":
        raise ValueError(
            f"cameras must be ({images},) integers, one per image, got {known.dtype} {known.shape}"
        )
    return known.astype(np.int64)


def any_camera_repeats(cameras: ArrayLike) -> bool:
    """Return True if any known camera (-1: unknown) took at least two of the images (N,)."""
    known = np.asarray(cameras)
    known = known[known >= 0]
    return len(np.unique(known)) < len(known)


FeaturesT = TypeVar("FeaturesT", NDArray[Any], Tensor, UnitEmbeddings)


def normalize_by_camera(features: FeaturesT, cameras: ArrayLike | None, mode: str) -> FeaturesT:
    """Return the embeddings (N, D) to search, for one of ``ranges.CAMERA_MODES``.

    Proxies use whitened embeddings, because linking compares centroids of different cameras. All
    turns of an image count as images of its camera, so that they stay turns of an image.
    """
    if mode == "none":
        return features
    known = check_cameras(cameras, len(features))
    if mode in ("penalty", "ca_jaccard"):
        return features
    normalized = center if mode == "center" else whiten
    if isinstance(features, UnitEmbeddings) and features.turned is not None:
        return UnitEmbeddings.of_turns(_each_turn(normalized, features, known))
    return normalized(features, known)


def _each_turn(
    normalized: Callable[[Tensor, NDArray[np.int64]], Tensor],
    features: UnitEmbeddings,
    cameras: NDArray[np.int64],
) -> Tensor:
    """Return (N, R, D), with every turn of an image as an image of its camera."""
    assert features.turned is not None
    images, turns, dim = features.turned.shape
    rows = torch.from_numpy(features.turned.reshape(-1, dim)).to(features.device)
    return normalized(rows, np.repeat(cameras, turns)).view(images, turns, dim)


def center(features: FeaturesT, cameras: ArrayLike) -> FeaturesT:
    """Subtract the mean of its camera from every embedding, and normalise (arXiv 2502.10195).

        x' = normalise(x - m_c),   m_c the mean of the embeddings of camera c

    The mean of all images is subtracted where a camera has no useful mean: from images of unknown
    cameras (-1), from the only image of a camera, and from a camera whose images are all equal.
    Means are summed in float64.

    Args:
        features: Embeddings (N, D), NumPy or torch; normalised inside.
        cameras: (N,) integers, -1 where unknown.

    Returns:
        (N, D) float32 rows of length 1, of the type and on the device of ``features``; a row equal
        to its camera's mean becomes 0.

    Raises:
        TypeError: ``features`` holds no real numbers.
        ValueError: Shapes do not fit, ``features`` is not finite, or no camera is known.

    >>> center(np.eye(2), [4, 4]).astype(float).round(3).tolist()
    [[0.707, -0.707], [-0.707, 0.707]]
    """
    unit = UnitEmbeddings.of(features).rows
    centered = np.empty_like(unit)
    for group in _camera_means(unit, check_cameras(cameras, len(unit))):
        centered[group.images] = UnitEmbeddings.of(_remainder(unit, group)).rows
    return _like(features, centered)


def whiten(features: FeaturesT, cameras: ArrayLike) -> FeaturesT:
    """Subtract the mean of the camera, divide by the root of its covariance, and normalise.

        x' = normalise(C_c^(-1/2) (x - m_c)),   C_c = (1 - a_c) S_c + a_c P

    S_c is the covariance of the embeddings of camera c; P is that of all embeddings about the means
    of their cameras, shrunk towards a multiple of the identity so that it has an inverse. The root
    is symmetric, which keeps cameras comparable. The shrinkage a_c is estimated from the data
    (Ledoit and Wolf, J. Multivariate Analysis 2004): the sampling error of the covariance over its
    squared distance from the target, at most 1. P alone is used for cameras of two images, where
    this estimate is always 0, and for images without a camera mean.

    Memory grows with N x D and D x D, time with N x D^2 and, for each camera, D^3. On a processor,
    embeddings of 1,024 dimensions or more are whitened in float32 if that is precise enough.

    Args:
        features: Embeddings (N, D), NumPy or torch; normalised inside.
        cameras: (N,) integers, -1 where unknown.

    Returns:
        As ``center``.

    Raises:
        TypeError: ``features`` holds no real numbers.
        ValueError: Shapes do not fit, ``features`` is not finite, or no camera is known.
    """
    embeddings = UnitEmbeddings.of(features)
    unit = embeddings.rows
    device = embeddings.device if embeddings.device.type == "cuda" else torch.device("cpu")
    groups = list(_camera_means(unit, check_cameras(cameras, len(unit))))
    whitened = None
    if device.type == "cpu" and unit.shape[1] >= _WIDE:
        whitened = _whitened(unit, groups, device, torch.float32)
    if whitened is None:
        whitened = _whitened(unit, groups, device, torch.float64)
    assert whitened is not None
    return _like(features, whitened)


def _whitened(
    unit: NDArray[np.float32], groups: list["_Group"], device: torch.device, dtype: torch.dtype
) -> NDArray[np.float32] | None:
    """Whiten with products of ``dtype``; None where float32 is not precise enough."""

    def centered(group: _Group) -> Tensor:
        if dtype == torch.float32:
            return torch.from_numpy(subtract(unit, group.images, group.mean, _SAME))
        return torch.from_numpy(_remainder(unit, group)).to(device)

    kept: list[Moments] = []  # where they take no more memory than the embeddings
    pooled: Moments | None = None
    for group in groups:
        here = Moments.of(centered(group))
        pooled = here if pooled is None else pooled.plus(here)
        if len(groups) * unit.shape[1] <= len(unit):
            kept.append(here)
    assert pooled is not None
    if not pooled.second.any():  # every row is its camera's mean
        return np.zeros_like(unit)
    target = pooled.shrunk().to(dtype)
    least = _SMALLEST * float(pooled.second.diagonal().mean() / pooled.n)
    whitened = np.empty_like(unit)
    shared = None
    for number, group in enumerate(groups):
        rows = centered(group)
        covariance = target
        if group.is_camera and len(rows) > 2:
            covariance = (kept[number] if kept else Moments.of(rows)).shrunk(target)
        if covariance is not target:
            found = times_root(rows, covariance, least)
        else:
            if shared is None:
                shared = times_root(torch.eye(len(target)).to(target), target, least)
            found = None if shared is None else _product(rows, shared)
        if found is None:
            return None
        whitened[group.images] = UnitEmbeddings.of(found).rows
    return whitened


def _product(rows: Tensor, root: Tensor) -> Tensor:
    """Return ``rows @ root``; NumPy's is faster in float32 on a processor."""
    if rows.dtype == torch.float64:
        return rows @ root
    return torch.from_numpy(rows.numpy() @ root.numpy())


class _Group(NamedTuple):
    """Images (n,), the mean (D,) to subtract, and True if it is the mean of their camera."""

    images: NDArray[np.int64]
    mean: NDArray[np.float64]
    is_camera: bool


def _camera_means(unit: NDArray[np.float32], cameras: NDArray[np.int64]) -> Iterator[_Group]:
    """Yield the images of each camera, then those without a camera mean."""
    names, places = np.unique(cameras, return_inverse=True)
    has_mean = np.zeros(len(unit), dtype=bool)
    for camera in np.flatnonzero(names >= 0):
        images = np.flatnonzero(places == camera)
        mean = unit[images].mean(axis=0, dtype=np.float64)
        if differ(unit, images, mean, _SAME):
            has_mean[images] = True
            yield _Group(images, mean, True)
    others = np.flatnonzero(~has_mean)
    if others.size:
        yield _Group(others, unit.mean(axis=0, dtype=np.float64), False)


def _remainder(unit: NDArray[np.float32], group: _Group) -> NDArray[np.float64]:
    """Subtract the mean from the images (n, D) of a group; set rounding errors to 0."""
    remainder = unit[group.images] - group.mean
    remainder[np.abs(remainder).max(axis=1) <= _SAME] = 0
    return remainder


def _like(features: FeaturesT, rows: NDArray[np.float32]) -> FeaturesT:
    """Return ``rows`` in the type and on the device of ``features``."""
    if isinstance(features, UnitEmbeddings):
        return UnitEmbeddings(rows, features.device)
    if isinstance(features, Tensor):
        return torch.from_numpy(rows).to(features.device)
    return rows
