"""Searching a gallery: every kind of it, with the exact one in the same table.

python benchmarks/gallery.py [images] [D] [people|anywhere] [kind ...]
"""

import sys
import time

import numpy as np

from dccc_lightning.gallery.approximate_search import KINDS
from dccc_lightning.gallery.gallery_index import GalleryIndex

QUERIES, K, IMAGES_A_PERSON, DIRECTIONS = 200, 10, 20, 24


def people(images: int, dim: int) -> np.ndarray:
    """Embeddings that cluster by person, in fewer directions than D, with noise in all of them."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((DIRECTIONS, dim)).astype(np.float32)
    persons = rng.standard_normal((images // IMAGES_A_PERSON, DIRECTIONS)).astype(np.float32)
    rows = persons[rng.integers(len(persons), size=images)]
    rows = (rows + 0.6 * rng.standard_normal(rows.shape, dtype=np.float32)) @ directions
    return rows + 0.5 * rng.standard_normal(rows.shape, dtype=np.float32)


def anywhere(images: int, dim: int) -> np.ndarray:
    """Embeddings without structure."""
    return np.random.default_rng(0).standard_normal((images, dim), dtype=np.float32)


def main() -> None:
    given = sys.argv[1:]
    images, dim, world = given[:3] + ["100000", "256", "people"][len(given) :]
    images, dim, kinds = int(images), int(dim), given[3:] or KINDS
    rows = {"people": people, "anywhere": anywhere}[world](images, dim)
    paths = [f"{number}.jpg" for number in range(images)]
    print(f"{images:,} images ({world}), D = {dim}, k = {K}, {QUERIES} queries at once")
    print("| kind | built in | a query | recall of the 10 nearest |")
    print("| --- | ---: | ---: | ---: |")
    for kind in kinds:
        start = time.perf_counter()
        index = GalleryIndex.build(rows, paths, fingerprint="none", kind=kind)
        built = time.perf_counter() - start
        index.search(rows[:1], K)
        start = time.perf_counter()
        index.search(rows[:: images // QUERIES][:QUERIES], K)
        searched = 1000 * (time.perf_counter() - start) / QUERIES
        name = f"auto: {index.kind}" if kind == "auto" else kind
        print(f"| {name} | {built:.1f} s | {searched:.2f} ms | {index.recall:.3f} |", flush=True)
        if index.measured:
            print(", ".join(f"{what} {value:.3g}" for what, value in index.measured.items()))


if __name__ == "__main__":
    main()
