"""Comparison of plausible preprocessings of a network, to make a wrong one visible."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.inference.image_embedder import ImageEmbedder
from dccc_lightning.metrics.mean_ap_among import mean_difference, precisions_among
from dccc_lightning.models.input_normalization import input_layer
from dccc_lightning.models.layout import COLOURS, NORMALIZATIONS
from dccc_lightning.neighbors.collapse import mean_cosine

NEIGHBORS = 5
"""Number of nearest images that are compared with those of the mirror image."""

_HALVES = 20
"""Random halves of the images in which the spread of two preprocessings is compared."""

_CHANCE = 0.05
"""Probability that any of the preprocessings is called better by chance."""

SIZES = ((256, 128), (384, 128), (224, 224))
"""Usual sizes of images, height and width."""


@dataclass(frozen=True)
class Variant:
    """Preprocessing of a network, and statistics of its embeddings.

    Attributes:
        normalization: Mean and std, a name of ``NORMALIZATIONS``.
        colour: ``rgb`` or ``bgr``.
        height: Height of the images.
        width: Width of the images.
        in_use: The network's own preprocessing.
        spread: Effective number of dimensions: (tr C)^2 / tr C^2 of the covariance C.
        mean_cosine: Mean cosine of two images.
        flips: Share of the nearest images that an image and its mirror image have in common.
        mean_ap: mAP, each image a query among the others; None without identities.
        gain: Lower end, mean and upper end of the difference to the mAP of the preprocessing in
            use, over identities.
        wider: Share of random halves of the images whose embeddings are wider than those of the
            preprocessing in use: a larger ``breadth``.
    """

    normalization: str
    colour: str
    height: int
    width: int
    in_use: bool = False
    spread: float = 0.0
    mean_cosine: float = 0.0
    flips: float = 0.0
    mean_ap: float | None = None
    gain: tuple[float, float, float] | None = None
    wider: float | None = None

    @property
    def breadth(self) -> float:
        """See the function ``breadth``."""
        return breadth(self.spread, self.mean_cosine)


def variants(embedder: ImageEmbedder) -> list[Variant]:
    """List the preprocessings to compare, the network's own first."""
    layout, size = embedder.network.layout, (embedder.height, embedder.width)
    own = Variant(layout.normalization, layout.colour, *size, in_use=True)
    rows = [Variant(name, colour, *size) for colour in COLOURS for name in NORMALIZATIONS]
    others = [r for r in rows if (r.normalization, r.colour) != (own.normalization, own.colour)]
    is_fixed = getattr(embedder.network.backbone, "positions", None) is not None
    sizes = [] if is_fixed else [s for s in SIZES if s != size]
    return [own, *others, *(replace(own, height=h, width=w, in_use=False) for h, w in sizes)]


def compare_preprocessings(
    embedder: ImageEmbedder,
    paths: Sequence[Path],
    identities: NDArray[np.int64],
    cameras: NDArray[np.int64],
    batch_size: int = 128,
    sightings: NDArray[np.int64] | None = None,
) -> list[Variant]:
    """Embed images with each of ``variants`` and measure the embeddings.

    Args:
        embedder: Network with its own preprocessing; unchanged afterwards.
        paths: N images, more than ``NEIGHBORS`` + 1.
        identities: (N,) identities, negative if unknown.
        cameras: (N,) cameras, negative if unknown.
        batch_size: Number of images per step.
        sightings: (N,) sessions or tracklets, negative if unknown; None if all are.
    """
    rows, found = [], []
    pixels: dict[tuple[int, int], Tensor] = {}
    for variant in variants(embedder):
        size = variant.height, variant.width
        if size not in pixels:
            pixels = {size: _decoded(embedder, paths, size, batch_size)}
        with _preprocessed(embedder, variant):
            rows.append(embedder.embed(pixels[size], batch_size))
            mirrored = embedder.embed(pixels[size].flip(3), batch_size)
        found.append(
            replace(
                variant,
                spread=effective_dimensions(rows[-1]),
                mean_cosine=mean_cosine(rows[-1]),
                flips=shared_neighbors(rows[-1], mirrored),
            )
        )
    return with_uncertainty(found, rows, identities, cameras, sightings)


def with_uncertainty(
    found: Sequence[Variant],
    rows: Sequence[Tensor],
    identities: NDArray[np.int64],
    cameras: NDArray[np.int64],
    sightings: NDArray[np.int64] | None = None,
) -> list[Variant]:
    """Add mAP, and the differences to the preprocessing in use with their uncertainty.

    Args:
        found: Preprocessings, the one in use first.
        rows: (N, D) embeddings of each.
        identities: (N,) identities, negative if unknown.
        cameras: (N,) cameras, negative if unknown.
        sightings: As in ``compare_preprocessings``.
    """
    precisions = [precisions_among(r, identities, cameras, sightings) for r in rows]
    valid = ~np.isnan(precisions[0])
    rng = np.random.default_rng(0)
    halves = [rng.permutation(len(rows[0]))[: len(rows[0]) // 2] for _ in range(_HALVES)]
    measured = [
        [breadth(effective_dimensions(r[half]), mean_cosine(r[half])) for half in halves]
        for r in rows
    ]
    chance, people = _CHANCE / max(1, len(found) - 1), identities[valid]
    compared = []
    for variant, precision, own in zip(found, precisions, measured, strict=True):
        wider = None if variant.in_use else float(np.mean(np.greater(own, measured[0])))
        mean_ap = gain = None
        if valid.any():
            mean_ap = float(precision[valid].mean())
            if not variant.in_use:
                difference = precision[valid] - precisions[0][valid]
                mean, low, high = mean_difference(difference, people, chance)
                gain = low, mean, high
        compared.append(replace(variant, mean_ap=mean_ap, gain=gain, wider=wider))
    return compared


def breadth(spread: float, cosine: float) -> float:
    """Return the effective dimensions over the mean cosine: small if all embeddings are alike."""
    return spread / max(cosine, 0.01)


def effective_dimensions(rows: Tensor) -> float:
    """Return the participation ratio of the covariance of (N, D) rows.

    >>> round(effective_dimensions(torch.eye(3).repeat(5, 1)), 3)
    2.0
    """
    centered = rows.double() - rows.double().mean(dim=0)
    is_wide = rows.shape[1] > len(rows)  # the smaller matrix has the same values
    covariance = centered @ centered.T if is_wide else centered.T @ centered
    total = float(covariance.square().sum())
    return float(covariance.trace()) ** 2 / total if total else 0.0


def shared_neighbors(rows: Tensor, mirrored: Tensor) -> float:
    """Return the mean share of nearest rows common to a row and the same row of ``mirrored``."""
    k = min(NEIGHBORS, len(rows) - 1)
    nearest = []
    for queries in (rows, mirrored):
        cosines = queries @ rows.T
        cosines.fill_diagonal_(-2)
        nearest.append(cosines.topk(k, dim=1).indices)
    common = (nearest[0][:, :, None] == nearest[1][:, None, :]).any(dim=2)
    return float(common.float().mean())


def _decoded(
    embedder: ImageEmbedder, paths: Sequence[Path], size: tuple[int, int], batch_size: int
) -> Tensor:
    images = []
    own = embedder.height, embedder.width
    embedder.height, embedder.width = size
    try:
        for batch in embedder.decode(paths, batch_size):
            for image in batch:
                if isinstance(image, Exception):
                    raise image
                images.append(torch.from_numpy(image))
    finally:
        embedder.height, embedder.width = own
    return torch.stack(images)


@contextmanager
def _preprocessed(embedder: ImageEmbedder, variant: Variant) -> Iterator[None]:
    """Give a network another preprocessing for a while."""
    network = embedder.network
    own = network.normalization, embedder.height, embedder.width
    layout = replace(network.layout, normalization=variant.normalization, colour=variant.colour)
    network.normalization = input_layer(layout).to(embedder.device)
    embedder.height, embedder.width = variant.height, variant.width
    try:
        yield
    finally:
        network.normalization, embedder.height, embedder.width = own
