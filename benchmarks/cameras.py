"""What camera-aware distances cost beside the neighbour search and the Jaccard graph.

    python benchmarks/cameras.py                # the size of Market-1501 and of ResNet-50
    python benchmarks/cameras.py --n 32621 --cameras 15 --device cuda

Embeddings are those of ``pseudo_labels.py``, each camera with a shift of its own; the reference,
search and graph without cameras, is measured in the same run. Best of ``--turns``.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pseudo_labels import K1, K2, embeddings

from dccc_lightning.clustering.experimental.camera_penalty import penalize
from dccc_lightning.clustering.experimental.proxies import camera_graph
from dccc_lightning.clustering.jaccard import NeighborGraph, jaccard_graph
from dccc_lightning.neighbors import camera_normalization
from dccc_lightning.neighbors.nearest import knn

PENALTY = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=12_936)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    rows, cameras = photographed(chosen.n, chosen.dim, chosen.cameras)
    features = torch.from_numpy(rows).to(chosen.device)

    def graph() -> NeighborGraph:
        return jaccard_graph(features, K1, K2, 0.65, knn(features, K1))

    made = graph()  # compiles
    reference = best(graph, chosen.turns)
    print(f"{chosen.n:,} x {chosen.dim}, {chosen.cameras} cameras, {chosen.device}")
    print(f"{'search and graph':18} {reference:8.3f} s")
    for name, function in (
        ("center", lambda: camera_normalization.center(features, cameras)),
        ("whiten", lambda: camera_normalization.whiten(features, cameras)),
        ("penalty", lambda: penalize(made, cameras, PENALTY)),
        ("proxies' graph", lambda: camera_graph(features, cameras, K1, K2, 0.65, "auto")),
    ):
        seconds = best(function, chosen.turns)
        print(f"{name:18} {seconds:8.3f} s   {seconds / reference:5.2f} x search and graph")


def photographed(n: int, dim: int, cameras: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return embeddings and cameras, as described above."""
    rows, _ = embeddings(n, dim, latent=32, noise=0.7)
    rng = np.random.default_rng(1)
    camera = rng.integers(0, cameras, n)
    rows += 0.02 * rng.standard_normal((cameras, dim), np.float32)[camera]
    return rows, camera


def best(function: Callable[[], Any], turns: int) -> float:
    """Return the seconds of the fastest turn."""
    times = []
    for _ in range(turns):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
