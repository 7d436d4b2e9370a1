"""Searching a gallery: every kind of it, with the exact one in the same table.

python benchmarks/gallery.py [images] [D]
"""

import sys
import time

import numpy as np

from dccc_lightning.retrieval.gallery_index import GalleryIndex
from dccc_lightning.retrieval.proposals import KINDS

QUERIES, K, IMAGES_A_PERSON, DIRECTIONS = 200, 10, 20, 24


def people(images: int, dim: int) -> np.ndarray:
    """Embeddings that cluster by person, in fewer directions than D, with noise in all of them."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((DIRECTIONS, dim)).astype(np.float32)
    persons = rng.standard_normal((images // IMAGES_A_PERSON, DIRECTIONS)).astype(np.float32)
    rows = persons[rng.integers(len(persons), size=images)]
    rows = (rows + 0.6 * rng.standard_normal(rows.shape, dtype=np.float32)) @ directions
    return rows + 0.5 * rng.standard_normal(rows.shape, dtype=np.float32)


def main() -> None:
    images, dim = (int(argument) for argument in [*sys.argv[1:], "100000", "256"][:2])
    rows = people(images, dim)
    paths = [f"{number}.jpg" for number in range(images)]
    print(f"{images:,} images, D = {dim}, k = {K}, {QUERIES} queries at once")
    print("| kind | built in | a query | recall of the 10 nearest |")
    print("| --- | ---: | ---: | ---: |")
    for kind in KINDS:
        start = time.perf_counter()
        index = GalleryIndex.build(rows, paths, fingerprint="none", kind=kind)
        built = time.perf_counter() - start
        index.search(rows[:1], K)
        start = time.perf_counter()
        index.search(rows[:: images // QUERIES][:QUERIES], K)
        searched = 1000 * (time.perf_counter() - start) / QUERIES
        print(f"| {kind} | {built:.1f} s | {searched:.2f} ms | {index.recall:.3f} |", flush=True)


if __name__ == "__main__":
    main()
