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
"""Most images of a map: more would hide each other."""

_DIMENSIONS, _PERPLEXITY, _STEPS, _LEAST = 50, 30.0, 400, 8


def sample(length: int, images: int = IMAGES, seed: int = 0) -> NDArray[np.int64]:
    """Return the ascending positions of the images of a map, the same for the same length.

    >>> sample(3).tolist()
    [0, 1, 2]
    """
    if length <= images:
        return np.arange(length)
    return np.sort(np.random.default_rng(seed).choice(length, images, replace=False))


def layout(rows: NDArray[np.float32], seed: int = 0) -> NDArray[np.float64]:
    """Embed unit vectors in the plane by t-SNE.

    On one thread: sums in another order would become another map.

    Args:
        rows: (n, D) of length one; Euclidean distance orders them as cosine does.
        seed: Of the principal components, where there are many.

    Returns:
        (n, 2) within [0, 1], equally scaled; zeros for less than eight images.
    """
    if len(rows) < _LEAST:
        return np.zeros((len(rows), 2))
    with threadpool_limits(1):
        dimensions = min(_DIMENSIONS, *rows.shape)
        reduced = PCA(dimensions, random_state=seed).fit_transform(rows)
        map_ = TSNE(
            perplexity=min(_PERPLEXITY, (len(rows) - 1) / 3),
            init="pca",
            max_iter=_STEPS,
            random_state=seed,
            n_jobs=1,
        ).fit_transform(reduced)
    low = map_.min(axis=0)
    scale = float((map_.max(axis=0) - low).max()) or 1.0
    places: NDArray[np.float64] = (map_ - low).astype(np.float64) / scale
    return places


def map_charts(data: Mapping[str, Any]) -> list[Chart]:
    """Return a chart of the map for each colouring in the data: cluster, identity, camera."""
    return [
        Chart(f"by {name}", partial(_scatter, data, name), plain=True)
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
