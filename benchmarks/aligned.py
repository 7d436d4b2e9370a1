"""Neighbours of images that turn: aligned comparison beside plain embeddings.

    python benchmarks/aligned.py                    # exact and from the mean, beside plain knn
    python benchmarks/aligned.py --features turned.npy     # (N, R, D) of your own

Made embeddings are those of ``quick.turned``. Searches run in turn,
``--turns`` times; printed are medians of the processor time (on a GPU of the time), the median
ratio to plain knn on the first embeddings, and the share of the exact neighbours that are found
among the candidates from the mean.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from quick import turned

from dccc_lightning.neighbors import knn
from dccc_lightning.neighbors.inverted_file import recall


def seconds(search: Callable[[], object], device: str) -> float:
    """Return the time of a search, on a processor without that of other programs."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    search()
    return clock() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=12_936)
    parser.add_argument("--rotations", type=int, default=4)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--k", type=int, default=30)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--features", help="a .npy file (N, R, D) in place of made embeddings")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    rows = (
        np.load(chosen.features).astype(np.float32)
        if chosen.features
        else turned(chosen.n, chosen.rotations, chosen.dim)
    )
    features = torch.from_numpy(rows).to(chosen.device)
    first = features[:, 0].contiguous()
    for backend in ("torch", "approximate"):
        knn(features[:1100], 10, backend)  # compiles
    knn(first[:1100], 10)
    times = [
        (
            seconds(lambda: knn(first, chosen.k), chosen.device),
            seconds(lambda: knn(features, chosen.k, "torch"), chosen.device),
            seconds(lambda: knn(features, chosen.k, "approximate"), chosen.device),
        )
        for _ in range(chosen.turns)
    ]
    plain, *others = zip(*times, strict=True)
    print(f"{' x '.join(map(str, rows.shape))}, k = {chosen.k}, {chosen.device}")
    print(f"{'plain':24} {median(plain):8.3f} s")
    for name, taken in zip(("aligned, exact", "aligned, from the mean"), others, strict=True):
        ratio = median(a / b for a, b in zip(taken, plain, strict=True))
        print(f"{name:24} {median(taken):8.3f} s   {ratio:5.2f} x plain")
    exact, near = (knn(features, chosen.k, backend)[1] for backend in ("torch", "approximate"))
    print(f"recall of the {chosen.k} nearest from the mean: {recall(near, exact):.4f}")


if __name__ == "__main__":
    main()
