"""Map of embeddings by t-SNE (van der Maaten and Hinton, 2008), the same every time."""

import colorsys
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dccc_lightning.reports.figures.chart import PALETTE, Chart

IMAGES = 1000
"""Most images of the picture: more would hide each other."""

_DIMENSIONS, _PERPLEXITY, _LEAST = 50, 30.0, 8
_STEPS, _STEPS_ON = 400, 250
"""Most steps from principal components, and from an earlier map."""

_SIDE, _LOWEST = 258.0, 0.3
"""Width of the picture on a page, and its height over it at least."""

_STILL = 0.036
"""Mean way of an image in a step, in the units of t-SNE (a map is about 50 wide), below which a map
that began with an earlier one is finished."""

_EXAGGERATION = 12.0
_ANGLE = 0.8
"""Of Barnes-Hut: at most three quarters of the time of 0.5; neighbours are kept as well."""


def sample(length: int, images: int = IMAGES, seed: int = 0) -> NDArray[np.int64]:
    """Return the ascending positions of the images of a map, the same for the same length.

    >>> sample(3).tolist()
    [0, 1, 2]
    """
    if length <= images:
        return np.arange(length)
    return np.sort(np.random.default_rng(seed).choice(length, images, replace=False))


def layout(
    rows: NDArray[np.float32], start: NDArray[np.float32] | None = None, seed: int = 0
) -> NDArray[np.float32]:
    """Embed unit vectors in the plane by t-SNE.

    On one thread: sums in another order would become another map.

    Args:
        rows: (n, D) of length one; Euclidean distance orders them as cosine does.
        start: (n, 2) map of the same images by earlier embeddings, to begin with, so that images
            stay where they are unless their neighbours changed; None for principal components.
        seed: Of the principal components, where there are many.

    Returns:
        (n, 2) in the units of t-SNE; less than eight images, or equal ones, are on a circle.
    """
    if len(rows) < _LEAST or not np.ptp(rows, axis=0).any():
        turns = 2 * np.pi * np.arange(len(rows), dtype=np.float32) / len(rows)
        return np.stack([np.cos(turns), np.sin(turns)], axis=1)
    rate = max(len(rows) / _EXAGGERATION / 4, 50.0)  # as "auto" of the first
    still = _STILL * len(rows) ** 0.5 / rate
    with threadpool_limits(1):
        dimensions = min(_DIMENSIONS, *rows.shape)
        reduced = PCA(dimensions, random_state=seed).fit_transform(rows)
        map_: NDArray[np.float32] = TSNE(
            perplexity=min(_PERPLEXITY, (len(rows) - 1) / 3),
            init="pca" if start is None else start,
            early_exaggeration=_EXAGGERATION if start is None else 1.0,
            angle=_ANGLE,
            learning_rate=rate,
            max_iter=_STEPS if start is None else _STEPS_ON,
            min_grad_norm=1e-7 if start is None else still,
            random_state=seed,
            n_jobs=1,
        ).fit_transform(reduced)
    return map_


def within_square(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Shift and scale points (n, 2) into [0, 1], equally in both directions.

    >>> within_square(np.array([[-2, 0], [2, 1]], dtype=np.float32)).tolist()
    [[0.0, 0.0], [1.0, 0.25]]
    """
    low = points.min(axis=0)
    scale = float((points.max(axis=0) - low).max()) or 1.0
    square: NDArray[np.float64] = (points - low).astype(np.float64) / scale
    return square


def map_charts(data: Mapping[str, Any]) -> list[Chart]:
    """Return a chart of the map for each colouring in the data: cluster, identity, camera."""
    height = float(np.ptp(np.array(data["points"]).reshape(-1, 2)[:, 1]))
    size = _SIDE, _SIDE * max(height, _LOWEST)
    return [
        Chart(f"by {name}", partial(_scatter, data, name), plain=True, size=size)
        for name in ("cluster", "identity", "camera")
        if name in data
    ]


def _scatter(data: Mapping[str, Any], name: str, axes: Axes) -> None:
    x, y = np.array(data["points"]).reshape(-1, 2).T
    values = np.array(data[name])
    known = values >= 0
    axes.scatter(x[~known], y[~known], s=5, c=PALETTE["none"][0])
    axes.scatter(x[known], y[known], s=7, c=[hue(value) for value in values[known]])
    axes.set_aspect("equal")


def hue(value: int) -> str:
    """Return a colour for a number; neighbours differ much (golden angle)."""
    turn = (value * 0.61803398875) % 1
    red, green, blue = colorsys.hls_to_rgb(turn, 0.45 + 0.12 * (value % 2), 0.62)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
