"""Whole pseudo-labelling, search to labels, as the number of images grows.

    python benchmarks/pseudo_labels.py --n 10000 30000 100000 --dim 256 --plot scaling.png
    python benchmarks/pseudo_labels.py --n 1000000 --dim 128 --backend approximate --compared 100000

Each size runs in a process of its own, so that its peak memory can be told; compilation is over
before the clock starts. The plain reference is the dense code of ``jaccard.py`` on the first
``--reference`` images. With ``--backend approximate``, ``--compared`` images are also labelled with
exact neighbours, and the two labellings compared by the adjusted Rand index over all images, the
outliers as one more cluster.

The embeddings: N / 20 identities, whose centres are standard normal in ``--latent`` dimensions,
mapped at random into D; each image draws an identity and adds normal noise of standard deviation
``--noise`` to each coordinate; rows of length one.
"""

import argparse
import logging
import os
import time
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
from jaccard import dense_distances, in_own_process, peak
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn import cluster

from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.metrics import cluster_quality
from dccc_lightning.neighbors.nearest import knn

K1, K2 = 30, 6
Labels = NDArray[np.int64]


class Outcome(NamedTuple):
    """Seconds of the three stages, peak memory above the features, and what was found."""

    search: float
    graph: float
    clustering: float
    megabytes: float
    labels: Labels
    truth: float

    @property
    def total(self) -> float:
        return self.search + self.graph + self.clustering


def embeddings(n: int, dim: int, latent: int, noise: float) -> tuple[NDArray[np.float32], Labels]:
    """Rows and identities, as described above."""
    rng = np.random.default_rng(0)
    identities = rng.integers(0, max(1, n // 20), n)
    mixing = rng.standard_normal((latent, dim), dtype=np.float32) / np.float32(latent**0.5)
    centres = rng.standard_normal((identities.max() + 1, latent), dtype=np.float32) @ mixing
    rows = rng.standard_normal((n, dim), dtype=np.float32)
    rows *= np.float32(noise)
    for first in range(0, n, 10_000):
        block = rows[first : first + 10_000]
        block += centres[identities[first : first + 10_000]]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return rows, identities


def label(
    n: int, dim: int, latent: int, noise: float, backend: str, eps: float, threads: int
) -> Outcome:
    """Label ``n`` images; runs in a process of its own."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("dccc_lightning.neighbors.inverted_file").setLevel(logging.INFO)
    features, identities = embeddings(n, dim, latent, noise)
    numba.set_num_threads(threads)
    small = features[:1000]
    knn(small, K1)
    DBSCAN().fit_predict(jaccard_graph(small, K1, K2), eps)  # compiles
    before, start = peak(reset=True), time.perf_counter()
    neighbors = knn(features, K1, backend)
    searched = time.perf_counter()
    graph = jaccard_graph(features, K1, K2, neighbors=neighbors)
    built = time.perf_counter()
    labels = DBSCAN().fit_predict(graph, eps)
    seconds = searched - start, built - searched, time.perf_counter() - built
    truth = cluster_quality.adjusted_rand_index(labels, identities)
    return Outcome(*seconds, peak() - before, labels, truth)


def plain(n: int, dim: int, latent: int, noise: float, eps: float) -> tuple[float, Labels]:
    """Seconds and labels of dense code: all distances, a full sort, N x N Jaccard distances."""
    features, _ = embeddings(n, dim, latent, noise)
    start = time.perf_counter()
    squares = 2 - 2 * features @ features.T
    np.fill_diagonal(squares, -1)
    ranks = np.argsort(squares, axis=1)[:, :K1]
    dense = dense_distances(features, ranks, K1, K2)
    labels = cluster.DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit_predict(dense)
    return time.perf_counter() - start, labels


def agreement(first: Labels, second: Labels) -> float:
    """The adjusted Rand index over all images, the outliers as one more cluster."""
    return cluster_quality.adjusted_rand_index(first + 1, second + 1)


def draw(path: Path, sizes: list[int], outcomes: list[Outcome], title: str) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log")
    for name, values in (
        ("search", [o.search for o in outcomes]),
        ("Jaccard graph", [o.graph for o in outcomes]),
        ("DBSCAN", [o.clustering for o in outcomes]),
        ("all", [o.total for o in outcomes]),
    ):
        cost = [1e6 * seconds / n for seconds, n in zip(values, sizes, strict=True)]
        axes.plot(sizes, cost, marker="o", linewidth=3 if name == "all" else 1.5, label=name)
    axes.set(xlabel="images", ylabel="microseconds an image", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[2000, 4000, 8000, 16_000])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--latent", type=int, default=32)
    parser.add_argument("--noise", type=float, default=0.7)
    parser.add_argument("--eps", type=float, default=0.6)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int, nargs="+", default=[os.cpu_count() or 1])
    parser.add_argument("--reference", type=int, default=2000, help="images for the dense code")
    parser.add_argument("--compared", type=int, default=20_000, help="approximate against exact")
    parser.add_argument("--plot", type=Path, help="PNG of the cost of an image")
    options = parser.parse_args()
    data = options.dim, options.latent, options.noise
    most = max(options.threads)

    print(
        f"D = {options.dim}, latent {options.latent}, noise {options.noise}, k1 = {K1}, k2 = {K2}, "
        f"eps = {options.eps}, backend {options.backend}, {os.cpu_count()} CPU cores"
    )
    print(
        "threads         N   search s    graph s  DBSCAN s    total s  us/image  MB above"
        "  clusters  ARI to truth"
    )
    outcomes = []
    for threads in options.threads:
        for n in options.n:
            outcome = in_own_process(
                threads, label, n, *data, options.backend, options.eps, threads
            )
            outcomes += [outcome] if threads == most else []
            print(
                f"{threads:7} {n:9} {outcome.search:10.2f} {outcome.graph:10.2f} "
                f"{outcome.clustering:9.2f} {outcome.total:10.2f} {1e6 * outcome.total / n:9.0f} "
                f"{outcome.megabytes:9.0f} {outcome.labels.max() + 1:9} {outcome.truth:13.4f}",
                flush=True,
            )
    if options.plot:
        draw(options.plot, options.n, outcomes, f"D = {options.dim}, {most} CPU threads")

    if options.reference:
        n = options.reference
        seconds, labels = in_own_process(most, plain, n, *data, options.eps)
        ours = in_own_process(most, label, n, *data, "auto", options.eps, most)
        print(
            f"dense code, N = {n}: {seconds:.2f} s, ours {ours.total:.2f} s, "
            f"ratio {seconds / ours.total:.0f} x, ARI {agreement(labels, ours.labels):.4f}"
        )
    if options.backend == "approximate":
        n = options.compared
        exact, near = (
            in_own_process(most, label, n, *data, backend, options.eps, most)
            for backend in ("faiss", "approximate")
        )
        print(
            f"exact neighbours, N = {n}: search {exact.search:.1f} s, approximate "
            f"{near.search:.1f} s; ARI of the labels {agreement(exact.labels, near.labels):.4f}"
        )


if __name__ == "__main__":
    main()
