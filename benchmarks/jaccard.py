"""Sparse Jaccard graph and DBSCAN against plain dense code, in one run on the same neighbours.

    python benchmarks/jaccard.py --n 12936 --threads 1 2
    python benchmarks/jaccard.py --n 32621 --no-dense

With ``--backend torch`` the graph is built on a GPU where there is one. Each side runs in a process
of its own, so that its peak memory can be told. Compilation is over before the clock starts; the
neighbour search is the same for both and stands on a line of its own.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import cluster

from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.common.waiting_threads import sleep_when_idle
from dccc_lightning.neighbors.nearest import knn

Labels = NDArray[np.int64]
T = TypeVar("T")


def embeddings(n: int, dim: int) -> NDArray[np.float32]:
    """Noisy clusters of 17 images, as many as an identity of Market-1501 has on average."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((n // 17 + 1, dim), dtype=np.float32)
    rows = centers[np.arange(n) // 17] + 2 * rng.standard_normal((n, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def dense_distances(
    features: NDArray[np.float32], ranks: Labels, k1: int, k2: int
) -> NDArray[np.float32]:
    """All N x N distances in the way the definition reads."""
    n = len(features)

    def mutual(k: int) -> list[Labels]:
        return [r[(ranks[r, :k] == i).any(axis=1)] for i, r in enumerate(ranks[:, :k])]

    whole, half = mutual(k1), mutual(round(k1 / 2) + 1)
    v = np.zeros((n, n), dtype=np.float32)
    for i, own in enumerate(whole):
        near = [half[j] for j in own if 3 * np.isin(half[j], own).sum() > 2 * len(half[j])]
        members = np.unique(np.concatenate([own, *near]))
        weights = np.exp(2 * features[members] @ features[i] - 2)
        v[i, members] = weights / weights.sum()
    if k2 > 1:
        v = np.stack([v[r].mean(axis=0) for r in ranks[:, :k2]])
    holders = [np.flatnonzero(column) for column in v.T]
    distances = np.empty((n, n), dtype=np.float32)
    for i in range(n):
        overlap = np.zeros(n, dtype=np.float32)
        for c in np.flatnonzero(v[i]):
            overlap[holders[c]] += np.minimum(v[i, c], v[holders[c], c])
        distances[i] = np.maximum(0, 1 - overlap / (2 - overlap))
    return distances


def peak(reset: bool = False) -> float:
    """Largest resident memory of this process since the last reset, in MB (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def run(
    kind: str, folder: str, k1: int, k2: int, eps: float, backend: str
) -> tuple[float, float, Labels]:
    """Seconds, peak memory in MB above the inputs, and labels of one side."""
    device = "cuda" if backend == "torch" and torch.cuda.is_available() else "cpu"
    small = torch.from_numpy(embeddings(100, 8)).to(device)
    DBSCAN().fit_predict(jaccard_graph(small, backend=backend), 0.5)  # compiles
    features = np.load(Path(folder, "features.npy"))
    ranks = np.load(Path(folder, "ranks.npy"))
    before, start = peak(reset=True), time.perf_counter()
    if kind == "sparse":
        rows = torch.from_numpy(features).to(device)
        neighbors = np.empty(0, np.float32), ranks
        graph = jaccard_graph(rows, k1, k2, neighbors=neighbors, backend=backend)
        labels = DBSCAN().fit_predict(graph, eps)
    else:
        dense = dense_distances(features, ranks, k1, k2)
        labels = cluster.DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit_predict(dense)
    return time.perf_counter() - start, peak() - before, labels


def in_own_process(threads: int, function: Callable[..., T], *arguments: object) -> T:
    os.environ |= {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    sleep_when_idle()  # as the command line
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--k1", type=int, default=30)
    parser.add_argument("--k2", type=int, default=6)
    parser.add_argument("--eps", type=float, default=0.6)
    parser.add_argument("--threads", type=int, nargs="+", default=[cores])
    parser.add_argument("--backend", default="numba", choices=["numba", "torch"])
    parser.add_argument("--dense", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()

    features = embeddings(options.n, options.dim)
    knn(features[:100], 1)
    start = time.perf_counter()
    ranks = knn(features, options.k1)[1]
    print(
        f"N = {options.n}, D = {options.dim}, k1 = {options.k1}, k2 = {options.k2}, "
        f"eps = {options.eps}, {cores} CPU cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"kNN, for all  {time.perf_counter() - start:8.2f} s", flush=True)
    results = {}
    sides = [("sparse", threads) for threads in options.threads]
    sides += [("dense", max(options.threads))] if options.dense else []
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "features.npy"), features)
        np.save(Path(folder, "ranks.npy"), ranks)
        for kind, threads in sides:
            settings = options.k1, options.k2, options.eps, options.backend
            results[kind] = in_own_process(threads, run, kind, folder, *settings)
            seconds, memory, labels = results[kind]
            print(
                f"{kind:6} {threads:2} thr {seconds:8.2f} s  {memory:8.0f} MB above the inputs  "
                f"{labels.max() + 1} clusters, {(labels < 0).sum()} outliers",
                flush=True,
            )
    if options.dense:
        sparse, dense = results["sparse"], results["dense"]
        print(
            f"ratio         {dense[0] / sparse[0]:8.1f} x in time; labels "
            f"{'identical' if np.array_equal(sparse[2], dense[2]) else 'DIFFER'}"
        )


if __name__ == "__main__":
    main()
