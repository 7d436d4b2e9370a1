"""Approximate neighbours beside other libraries, at equal recall.

    uv run --with hnswlib --with usearch --with pynndescent python benchmarks/approximate.py
    ... python benchmarks/approximate.py --n 100000 300000 --threads 2 --recall 0.98

The 30 nearest of all N embeddings of ``pseudo_labels.py``, from embeddings to lists: an index is
built and all N search it. A library is given more effort until its recall, on 1,000 images against
exact neighbours, is that of ours, or ``--recall``, which ours then aims at too; its index and the
search that reached it count. Libraries that are not installed are left out. Each runs in a process
of its own.
"""

import argparse
import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaccard import peak
from numpy.typing import NDArray
from pseudo_labels import embeddings, in_own_process

from dccc_lightning.neighbors import inverted_file
from dccc_lightning.neighbors.nearest import knn

K = 30
SAMPLE = 1000
EFFORTS = (30, 40, 50, 65, 80, 120, 200, 400)
"""Candidates kept by a search (hnswlib, usearch), neighbours of a graph (pynndescent)."""

Rows = NDArray[np.float32]
Found = NDArray[np.int64]
Search = Callable[[int], Found]


def ours(rows: Rows, threads: int) -> Search:
    return lambda effort: knn(rows, K, "approximate")[1]


def hnswlib(rows: Rows, threads: int) -> Search:
    import hnswlib as library  # noqa: PLC0415

    index = library.Index(space="l2", dim=rows.shape[1])
    index.init_index(len(rows), M=16, ef_construction=100)
    index.add_items(rows, num_threads=threads)

    def search(effort: int) -> Found:
        index.set_ef(effort)
        return index.knn_query(rows, K, num_threads=threads)[0].astype(np.int64)

    return search


def usearch(rows: Rows, threads: int) -> Search:
    from usearch.index import Index  # noqa: PLC0415

    index = Index(
        ndim=rows.shape[1], metric="l2sq", dtype="f32", connectivity=16, expansion_add=100
    )
    index.add(np.arange(len(rows)), rows, threads=threads)

    def search(effort: int) -> Found:
        index.expansion_search = effort
        return np.asarray(index.search(rows, K, threads=threads).keys).astype(np.int64)

    return search


def pynndescent(rows: Rows, threads: int) -> Search:
    from pynndescent import NNDescent  # noqa: PLC0415

    def graph(effort: int) -> Found:
        made = NNDescent(rows, n_neighbors=effort, n_jobs=threads, random_state=0)
        return made.neighbor_graph[0][:, :K]

    return graph


LIBRARIES = {each.__name__: each for each in (ours, hnswlib, usearch, pynndescent)}


def measured(name: str, n: int, dim: int, threads: int, wanted: float) -> tuple[Any, ...]:
    """Return effort, recall, seconds, processor seconds and megabytes; in a process of its own."""
    inverted_file.TARGET = max(inverted_file.TARGET, wanted)
    rows, _ = embeddings(n, dim, 32, 0.7)
    sample = np.sort(np.random.default_rng(1).choice(n, min(n, SAMPLE), replace=False))
    exact = knn_of(rows, sample)
    LIBRARIES[name](rows[:2000], threads)(K)  # compiles
    before, (search, built) = peak(reset=True), clocked(lambda: LIBRARIES[name](rows, threads))
    for effort in EFFORTS:
        found, spent = clocked(lambda effort=effort: search(effort))
        reached = inverted_file.recall(found[sample], exact)
        if reached >= wanted or name == "ours":
            break
    return effort, reached, *(built + spent), peak() - before


def knn_of(rows: Rows, some: NDArray[np.int64]) -> Found:
    """Return the exact neighbours of some of the rows."""
    return np.argsort(-(rows[some] @ rows.T), axis=1, kind="stable")[:, :K]


def clocked(function: Callable[[], Any]) -> tuple[Any, NDArray[np.float64]]:
    """Return what a function returns, and its seconds and processor seconds."""
    start = np.array([time.perf_counter(), time.process_time()])
    result = function()
    return result, np.array([time.perf_counter(), time.process_time()]) - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[100_000])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--recall", type=float, default=0.0, help="at least (ours as it is)")
    parser.add_argument("--only", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    options = parser.parse_args()
    print(f"D = {options.dim}, {K} neighbours, {options.threads} threads, {os.cpu_count()} cores")
    print("        N  library      effort  recall         s  processor s   MB above")
    for n in options.n:
        wanted = options.recall
        for name in ["ours", *(each for each in options.only if each != "ours")]:
            if name != "ours" and importlib.util.find_spec(name) is None:
                continue
            arguments = name, n, options.dim, options.threads, wanted
            effort, reached, *spent, megabytes = in_own_process(
                options.threads, measured, *arguments
            )
            wanted = wanted or reached
            print(
                f"{n:9}  {name:11} {effort if name != 'ours' else '':>7} {reached:7.3f} "
                f"{spent[0]:9.1f} {spent[1]:12.1f} {megabytes:10.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
