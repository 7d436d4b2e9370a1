"""k-reciprocal re-ranking of a gallery, block by block of queries.

Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017;
for ``CameraRerank`` Chen et al., "CA-Jaccard", CVPR 2024.
The k-reciprocal neighbourhoods of queries and gallery are sparse and computed as for clustering.
Distances are dense for one block of queries at a time, never (Q + G) x (Q + G).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from dccc_lightning.common import progress, ranges
from dccc_lightning.common.compiled import parallel
from dccc_lightning.common.tensors import mean_of_turns
from dccc_lightning.metrics.aligned_squares import AlignedSquares
from dccc_lightning.neighbors import reciprocal
from dccc_lightning.neighbors.camera_normalization import check_cameras
from dccc_lightning.neighbors.camera_ranking import camera_neighborhoods
from dccc_lightning.neighbors.nearest import knn_and_farthest
from dccc_lightning.neighbors.similarity import half_squares, origin_of, products

Ints = NDArray[np.int64]

_BLOCK_BYTES = 1 << 26
_ROWS = 4096


@dataclass(frozen=True)
class Rerank:
    """Settings of the re-ranking: ``(1 - weight) * jaccard + weight * original distance``.

    Attributes:
        k1: Neighbours of an image, itself excluded.
        k2: Images averaged in the query expansion, the image itself included; 1 is no expansion.
        weight: lambda in [0, 1], the share of the original distance.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        ranges.reranking(self.k1, self.k2, self.weight)


@dataclass(frozen=True)
class CameraRerank:
    """Settings of the re-ranking by the camera-aware Jaccard distance; see ``ca_jaccard_graph``.

    Attributes:
        k1_intra: Neighbours of the own camera considered for reciprocity.
        k1_inter: Neighbours of other cameras considered.
        k2_intra: Images of the own camera averaged, the image itself included.
        k2_inter: Images of other cameras averaged. The authors re-rank with 3 and 3.
        weight: lambda in [0, 1], the share of the original distance.
    """

    k1_intra: int = 5
    k1_inter: int = 20
    k2_intra: int = 3
    k2_inter: int = 3
    weight: float = 0.3

    def __post_init__(self) -> None:
        ranges.camera_reranking(**vars(self))


def reranked_distances(
    queries: Tensor,
    gallery: Tensor,
    rerank: Rerank | CameraRerank,
    block: int = 128,
    cameras: ArrayLike | None = None,
) -> Iterator[Tensor]:
    """Yield the re-ranked distances of the queries in blocks of ``block``.

    The original distance of two images is the squared Euclidean one, divided by the largest from
    the first of them to any query or gallery image.

    Args:
        queries: (Q, D) of length 1, float32 or float64; or (Q, R, D), R turns of each image: then
            ``aligned_similarity`` ranks them and gives the original distance, and neighbourhoods
            are weighted by the distance of their means.
        gallery: (G, D) or (G, R, D) of length 1, on the same device; ``queries`` itself if they are
            the same images, which are then neighbours of each other once.
        rerank: Settings.
        block: Queries per block.
        cameras: (Q + G,) cameras, or (G,) of the same images, -1 where unknown; needed with a
            ``CameraRerank``.

    Yields:
        (at most ``block``, G) distances.

    Raises:
        ValueError: Fewer images than a ranking needs, or no camera is known to rank by.

    >>> queries, gallery = torch.eye(4)[:1], torch.eye(4)[[0, 0, 1, 2]]
    >>> (distances,) = reranked_distances(queries, gallery, Rerank(k1=2, k2=1))
    >>> distances.numpy().round(2).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """
    first_gallery = 0 if queries is gallery else len(queries)
    points = gallery if queries is gallery else torch.cat([queries, gallery])
    sets, far = _rankings(points, rerank, cameras)
    turned = None
    if points.ndim == 3:
        turned, points = AlignedSquares(points, first_gallery), mean_of_turns(points)
        queries, gallery = points[: len(queries)], points[first_gallery:]
    origin = origin_of(points)
    if origin is not None:
        points = points - origin.point
        queries, gallery = points[: len(queries)], points[first_gallery:]
    halves = points.new_full((len(points),), 0.5) if origin is None else half_squares(points)
    farthest = _farthest(points, halves, far)
    neighborhoods = _neighborhoods(points, halves, farthest, *sets)
    del points
    own, holders = neighborhoods[: len(queries)], neighborhoods[first_gallery:].tocsc()
    own_arrays = own.indptr.astype(np.int64), own.indices, own.data
    holder_arrays = holders.indptr.astype(np.int64), holders.indices, holders.data
    own_halves, scales = halves.cpu().numpy(), farthest.cpu().numpy()
    gallery_halves = own_halves[first_gallery:]
    for first in range(0, len(queries), block):
        part = queries[first : first + block]
        own_rows = slice(first, first + len(part))
        if turned is not None:
            original = turned.relative(first, first + len(part)).cpu().numpy()
        else:
            original = products(part, gallery).cpu().numpy()
            _to_relative(original, own_halves[own_rows], gallery_halves, scales[own_rows])
        _blend(original, float(rerank.weight), first, *own_arrays, *holder_arrays)
        yield torch.from_numpy(original).to(gallery.device)


def _rankings(
    points: Tensor, rerank: Rerank | CameraRerank, cameras: ArrayLike | None
) -> tuple[tuple[Sequence[Ints], int, Ints | None], Ints | None]:
    """Return rankings, half and averaged, as ``reciprocal.neighborhoods`` takes them.

    Beside them the farthest image of each, where the search has found it.
    """
    if isinstance(rerank, CameraRerank):
        if points.ndim == 3:
            raise ValueError("rerank=ca_jaccard compares one embedding an image: use match=mean")
        sizes = rerank.k1_intra, rerank.k1_inter, rerank.k2_intra, rerank.k2_inter
        known = check_cameras(cameras, len(points))
        rankings, averaged = camera_neighborhoods(points, known, *sizes)
        return (rankings, 0, averaged), None
    if rerank.k1 >= len(points):
        raise ValueError(
            f"k1 must be below the number of query and gallery images, {len(points)}, "
            f"got {rerank.k1}"
        )
    (_, ranks), far = knn_and_farthest(points, rerank.k1 + 1)  # the image itself comes first
    half, averaged = reciprocal.half_size(rerank.k1), ranks[:, : rerank.k2]
    return ([ranks], half, averaged if rerank.k2 > 1 else None), far


def _farthest(points: Tensor, halves: Tensor, far: Ints | None) -> Tensor:
    """Return the largest squared distance (N,) of each point to any; 1 where it is 0.

    Args:
        points: (N, D).
        halves: (N,) half their squared lengths, or 0.5 for all.
        far: (N,) the farthest of each; None compares all pairs.
    """
    n = len(points)
    farthest = points.new_zeros(n)
    if far is not None and points.any(dim=1).all():  # the length of a row of zeros is not 1
        for rows in torch.split(torch.arange(n, device=points.device), _ROWS):
            others = torch.from_numpy(far[rows.cpu()]).to(points.device)
            cosines = (points[rows].double() * points[others]).sum(dim=1)
            farthest[rows] = (2 * (halves[rows].double() + halves[others] - cosines)).to(points)
        return torch.where(farthest > 0, farthest, 1.0)
    block = max(1, _BLOCK_BYTES // (4 * n))
    for first in range(0, n, block):
        # Distances are symmetric: earlier blocks have covered the columns left of this one.
        near = products(points[first : first + block], points[first:])
        near -= halves[first:]
        near -= halves[first : first + block, None]
        farthest[first:] = torch.maximum(farthest[first:], -2 * near.amin(dim=0))
        rows = farthest[first : first + block]
        torch.maximum(rows, -2 * near.amin(dim=1), out=rows)
    return torch.where(farthest > 0, farthest, 1.0)


def _neighborhoods(
    points: Tensor,
    halves: Tensor,
    farthest: Tensor,
    rankings: Sequence[Ints],
    half: int,
    averaged: Ints | None,
) -> csr_matrix:
    """Return V (N, N), the weights of the expanded k-reciprocal neighbourhoods."""
    with progress.announced("finding reciprocal neighbours"):
        starts, columns, values = reciprocal.neighborhoods(
            points.float().cpu().numpy(),
            rankings,
            half,
            averaged,
            scales=farthest.float().cpu().numpy(),
            halves=halves.float().cpu().numpy(),
        )
    return csr_matrix((values, columns, starts), shape=(len(points), len(points)))


@parallel
def _to_relative(
    products: NDArray[np.floating],
    halves: NDArray[np.floating],
    others: NDArray[np.floating],
    farthest: NDArray[np.floating],
) -> None:
    """Replace products (B, G) by squared distances over the farthest of each row, in place.

    Args:
        products: (B, G).
        halves: (B,) half the squared lengths of the rows.
        others: (G,) of the columns.
        farthest: (B,) divisors.
    """
    two = products.dtype.type(2)
    for i in numba.prange(products.shape[0]):
        for j in range(products.shape[1]):
            square = two * ((halves[i] + others[j]) - products[i, j])
            products[i, j] = np.true_divide(square, farthest[i])


@parallel
def _blend(
    original: NDArray[np.floating],
    weight: float,
    first: int,
    starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    holder_starts: NDArray[np.int64],
    holders: NDArray[np.int32],
    holder_values: NDArray[np.float32],
) -> None:
    """Blend original distances (B, G) with the Jaccard distances of the same images, in place.

    A Jaccard distance is 1 - s / (2 - s) with s = sum_c min(V_ic, V_jc).

    Args:
        original: Of the queries from ``first`` on.
        weight: Share of the original distance.
        first: First query.
        starts: Row offsets of V for the queries (CSR).
        columns: Columns of these entries.
        values: Values of these entries.
        holder_starts: Column offsets of V for the gallery (CSC).
        holders: Gallery images of these entries.
        holder_values: Values of these entries.
    """
    one, two = np.float32(1), np.float32(2)
    share, rest = original.dtype.type(weight), np.float32(1 - weight)
    for i in numba.prange(original.shape[0]):
        row = original[i]
        overlaps = np.zeros(row.size, dtype=np.float32)
        for p in range(starts[first + i], starts[first + i + 1]):
            column, own = columns[p], values[p]
            for q in range(holder_starts[column], holder_starts[column + 1]):
                overlaps[holders[q]] += min(own, holder_values[q])
        for j in range(row.size):
            jaccard = one - np.true_divide(overlaps[j], two - overlaps[j])
            row[j] = rest * jaccard + share * row[j]
