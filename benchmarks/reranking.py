"""k-reciprocal re-ranking without dense matrices against the usual dense code.

    python benchmarks/reranking.py                  # with the dense reference
    python benchmarks/reranking.py --queries 11659 --gallery 82161 --dim 256 --no-reference
    python benchmarks/reranking.py --cameras ...    # beside the camera-aware distance instead

The dense side holds several (Q + G) x (Q + G) arrays: leave it out where they do not fit. It is
given the neighbours, which ours has to find: otherwise rounding would decide, on either side in its
own way, which of nearly equal ones belongs to a neighbourhood.
"""

import argparse
import os
import time

import numba
import numpy as np
import torch
from evaluation import IMAGES, split
from jaccard import peak
from numpy.typing import NDArray

from dccc_lightning.metrics.reranking import CameraRerank, Rerank, reranked_distances
from dccc_lightning.neighbors.nearest import knn


def dense_reranking(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    ranks: NDArray[np.int64],
    settings: Rerank,
) -> NDArray[np.float32]:
    """All distances at once, from matrices over queries and gallery together."""
    points = np.concatenate([queries, gallery])
    n = len(points)
    original = 2 - 2 * points @ points.T
    original = (original / original.max(axis=0)).T

    def mutual(k: int) -> list[NDArray[np.int64]]:
        return [r[(ranks[r, : k + 1] == i).any(axis=1)] for i, r in enumerate(ranks[:, : k + 1])]

    whole, half = mutual(settings.k1), mutual(round(settings.k1 / 2))
    v = np.zeros((n, n), dtype=np.float32)
    for i, own in enumerate(whole):
        near = [half[j] for j in own if 3 * np.isin(half[j], own).sum() > 2 * len(half[j])]
        members = np.unique(np.concatenate([own, *near]))
        weights = np.exp(-original[i, members])
        v[i, members] = weights / weights.sum()
    if settings.k2 > 1:
        v = np.stack([v[r].mean(axis=0) for r in ranks[:, : settings.k2]])
    holders = [np.flatnonzero(column) for column in v.T]
    final = original[: len(queries)] * settings.weight
    for i in range(len(queries)):
        overlap = np.zeros(n, dtype=np.float32)
        for c in np.flatnonzero(v[i]):
            overlap[holders[c]] += np.minimum(v[i, c], v[holders[c], c])
        final[i] += (1 - settings.weight) * (1 - overlap / (2 - overlap))
    return final[:, len(queries) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--gallery", type=int, default=4500)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--cameras", action="store_true")
    parser.add_argument("--reference", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    numba.set_num_threads(options.threads)

    rng = np.random.default_rng(0)
    centers = rng.standard_normal((options.gallery // IMAGES, options.dim), dtype=np.float32)
    splits = [split(rng, count, centers) for count in (options.queries, options.gallery)]
    queries, gallery = (
        torch.nn.functional.normalize(torch.from_numpy(features)) for features, _, _ in splits
    )
    cameras = np.concatenate([cameras for _, _, cameras in splits])
    del splits
    print(
        f"Q = {options.queries}, G = {options.gallery}, D = {options.dim}, {Rerank()}, "
        f"{options.threads} threads on {os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}"
    )
    for rerank in (CameraRerank(), Rerank()) if options.cameras else (Rerank(),):
        few = reranked_distances(queries[:50], gallery[:50], rerank, cameras=cameras[:100])
        list(few)  # compiles
        before, start, total = peak(reset=True), time.perf_counter(), 0.0
        for distances in reranked_distances(queries, gallery, rerank, cameras=cameras):
            total += distances.mean(dim=1).sum().item()
        sparse = time.perf_counter() - start
        print(f"blocked  {sparse:8.2f} s  {peak() - before:7.0f} MB above the features", end="  ")
        print(f"mean distance {total / options.queries:.6f}  {type(rerank).__name__}")
    if options.cameras or not options.reference:
        return
    ranks = knn(torch.cat([queries, gallery]), Rerank().k1 + 1)[1]
    before, start = peak(reset=True), time.perf_counter()
    expected = dense_reranking(queries.numpy(), gallery.numpy(), ranks, Rerank())
    dense = time.perf_counter() - start
    print(f"dense    {dense:8.2f} s  {peak() - before:7.0f} MB above the features")
    blocks = reranked_distances(queries, gallery, Rerank())
    gap = np.abs(torch.cat(list(blocks)).numpy() - expected).max()
    print(f"ratio    {dense / sparse:8.1f} x in time; distances differ by {gap:.1e} at most")


if __name__ == "__main__":
    main()
