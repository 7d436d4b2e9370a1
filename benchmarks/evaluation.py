"""Evaluation against a plain loop over the queries, which sorts the gallery for each of them.

    python benchmarks/evaluation.py                 # moderate
    python benchmarks/evaluation.py --full          # the size of MSMT17

The loop (argsort, scikit-learn's average precision) runs on the first queries alone, in the same
process, and on similarities that it is given: the matrix product costs both the same and stands on
a line of its own. Ours is timed as a whole, checks and normalisation included, less the product.
"""

import argparse
import os
import time
from collections.abc import Iterator

import numba
import numpy as np
import torch
from jaccard import peak
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from dccc_lightning.metrics import retrieval_scores
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval

RANKS = (1, 5, 10, 50)
CAMERAS = 15  # as MSMT17
IMAGES = 27  # of an identity in the gallery, as in MSMT17
SUBSET = 128

Split = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def split(rng: np.random.Generator, count: int, centers: NDArray[np.float32]) -> Split:
    """Images of random identities and cameras, noisy enough that many are ranked low."""
    dim = centers.shape[1]
    noise = np.float32(np.sqrt(dim**0.5 / 2.5 - 1))
    identities = rng.integers(0, len(centers), count)
    features = np.empty((count, dim), dtype=np.float32)
    for first in range(0, count, 4096):
        part = features[first : first + 4096]
        rng.standard_normal(part.shape, dtype=np.float32, out=part)
        part *= noise
        part += centers[identities[first : first + 4096]]
    return features, identities, rng.integers(0, CAMERAS, count)


def plain_measures(
    similarity: NDArray[np.float32], query: Split, gallery: Split
) -> dict[str, float]:
    """One query after another."""
    precisions, penalties, firsts = [], [], []
    for scores, identity, camera in zip(similarity, *query[1:], strict=True):
        order = np.argsort(-scores, kind="stable")
        match = gallery[1][order] == identity
        keep = ~(match & (gallery[2][order] == camera))
        hits = match[keep]
        if not hits.any():
            continue
        precisions.append(average_precision_score(hits, scores[order][keep]))
        positions = np.flatnonzero(hits) + 1
        penalties.append(len(positions) / positions[-1])
        firsts.append(positions[0])
    measures = {"mAP": np.mean(precisions), "mINP": np.mean(penalties)}
    return measures | {f"rank{rank}": np.mean(np.array(firsts) <= rank) for rank in RANKS}


class ProductClock:
    """Adds up the time that ``ranking`` spends on the similarity product."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._scores = retrieval_scores._scores

    def __call__(self, *arguments: object) -> Iterator[torch.Tensor]:
        blocks = self._scores(*arguments)  # type: ignore[arg-type]
        while True:
            start = time.perf_counter()
            block = next(blocks, None)
            self.seconds += time.perf_counter() - start
            if block is None:
                return
            yield block


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--gallery", type=int, default=40000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--full", action="store_true", help="11,659 x 82,161, D = 2048")
    options = parser.parse_args()
    if options.full:
        options.queries, options.gallery, options.dim = 11_659, 82_161, 2048
    torch.set_num_threads(options.threads)
    numba.set_num_threads(options.threads)

    rng = np.random.default_rng(0)
    identities = options.gallery // IMAGES
    centers = rng.standard_normal((identities, options.dim), dtype=np.float32)
    gallery = split(rng, options.gallery, centers)
    query = split(rng, options.queries, centers)
    subset = tuple(part[:SUBSET] for part in query)
    print(
        f"Q = {options.queries}, G = {options.gallery}, D = {options.dim}, {identities} "
        f"identities, {options.threads} threads on {os.cpu_count()} CPU cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    ours_of_subset = evaluate_retrieval(*subset, *gallery, ranks=RANKS)  # compiles, too

    clock = ProductClock()
    retrieval_scores._scores = clock
    before, start = peak(reset=True), time.perf_counter()
    measures = evaluate_retrieval(*query, *gallery, ranks=RANKS)
    total = time.perf_counter() - start
    memory = peak() - before
    ours = (total - clock.seconds) / options.queries

    unit = [torch.nn.functional.normalize(torch.from_numpy(part[0])) for part in (subset, gallery)]
    similarity = (unit[0] @ unit[1].T).numpy()
    start = time.perf_counter()
    expected = plain_measures(similarity, subset, gallery)
    plain = (time.perf_counter() - start) / len(similarity)
    error = max(abs(ours_of_subset[name].item() - value) for name, value in expected.items())

    print(", ".join(f"{name} {value.item():.4f}" for name, value in measures.items()))
    print(f"whole evaluation      {total:9.2f} s  {memory:6.0f} MB above the features")
    print(f"  similarity product  {clock.seconds:9.2f} s")
    print(f"  ranking and scoring {total - clock.seconds:9.2f} s  {1e3 * ours:8.3f} ms a query")
    print(
        f"plain loop            {plain * options.queries:9.2f} s  {1e3 * plain:8.3f} ms a query, "
        f"from {len(similarity)} queries"
    )
    print(f"ratio                 {plain / ours:9.1f} x in ranking and scoring")
    print(f"agreement             {error:9.1e} at most, over {', '.join(expected)}")


if __name__ == "__main__":
    main()
