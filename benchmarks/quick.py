"""Compare the speed of the kernels with that of another commit, in about two minutes.

    python benchmarks/quick.py            # against HEAD: did my change cost something?
    python benchmarks/quick.py 8b4824b --only neighbours whitening
    python benchmarks/quick.py 2b50a36 --large --turns 2      # the sizes of docs/performance.md

The commit is checked out into a temporary folder. One process a side waits for the name of a
kernel, and both run it by turns on one thread, so that what else the machine does meets both. The
median of the ratios of processor time counts. Aligned comparison stands beside the plain search of
one turn where the commit has none.
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 100.0
"""Time for all turns together; the rest of the two minutes starts both sides."""

Kernel = Callable[[], Any]


def clusters(n: int, dim: int, size: int = 20) -> Any:
    """Return unit embeddings (n, dim) of ``size`` images an identity, and the identities."""
    rng = np.random.default_rng(0)
    identities = rng.integers(0, n // size, n)
    rows = rng.standard_normal((n // size, 32)) @ rng.standard_normal((32, dim)) / 6
    rows = rows[identities] + 0.7 * rng.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), identities


def turned(n: int, turns: int, dim: int) -> Any:
    """Return embeddings (n, turns, dim) of images of a random orientation.

    Each is an identity's centre, a part by orientation that all identities share, one of its own,
    and noise.
    """
    rng = np.random.default_rng(0)
    identities = rng.integers(0, max(1, n // 20), n)
    people = identities.max() + 1
    shared = rng.standard_normal((turns, dim), np.float32)
    centres = rng.standard_normal((people, dim), np.float32)
    own = rng.standard_normal((people, turns, dim), np.float32)
    start = rng.integers(0, turns, n)
    rows = np.empty((n, turns, dim), np.float32)
    for turn in range(turns):
        side = (start + turn) % turns
        rows[:, turn] = centres[identities] + 0.7 * shared[side] + 0.7 * own[identities, side]
        rows[:, turn] += rng.standard_normal((n, dim), np.float32)
    return rows


def here(module: str) -> bool:
    """Return True if this side has the module; an installed package would stand in for it."""
    path = Path(os.environ["PYTHONPATH"], "dccc_lightning", *module.split("."))
    return path.with_suffix(".py").exists()


def imported(name: str, *homes: str) -> Any:
    """Return a function from the present or an old home of its own."""
    for home in filter(here, homes):
        return getattr(importlib.import_module(f"dccc_lightning.{home}"), name)
    raise SystemExit(f"the commit has no {name}; choose a later one")


def neighbours(n: int, dim: int, backend: str = "auto") -> Kernel:
    knn = imported("knn", "neighbors.nearest", "clustering.neighbors")
    rows, _ = clusters(n, dim)
    return lambda: knn(rows, 30, backend)


def aligned(n: int, dim: int, backend: str) -> Kernel:
    knn, rows = imported("knn", "neighbors.nearest", "clustering.neighbors"), turned(n, 4, dim)
    if not here("neighbors.aligned"):
        rows, backend = rows[:, 0].copy(), "auto"
    return lambda: knn(rows, 30, backend)


def graph(n: int, dim: int) -> Kernel:
    jaccard_graph = imported("jaccard_graph", "clustering.jaccard")
    algorithm = imported("DBSCAN", "clustering.algorithms")()
    knn = imported("knn", "neighbors.nearest", "clustering.neighbors")
    rows, _ = clusters(n, dim)
    found = knn(rows, 30)
    return lambda: algorithm.fit_predict(jaccard_graph(rows, 30, 6, 0.6, found), 0.6)


def whitening(n: int, dim: int, differ: bool = True) -> Kernel:
    """Whiten by six cameras; the embeddings of each vary along a direction of its own."""
    whiten = imported("whiten", "neighbors.camera_normalization", "clustering.cameras")
    rows, _ = clusters(n, dim)
    rng, cameras = np.random.default_rng(1), np.arange(n) % 6
    if differ:
        own = (0.3 / dim**0.5) * rng.standard_normal((6, dim))[cameras]
        rows = rows + (own * rng.standard_normal((n, 1))).astype(np.float32)
    return lambda: whiten(rows, cameras)


def evaluation(n: int, dim: int, queries: float, reranked: bool = False) -> Kernel:
    evaluate = imported("evaluate_retrieval", "metrics.retrieval_scores", "retrieval.ranking")
    rerank = imported("Rerank", "metrics.reranking", "retrieval.reranking")
    labels = *clusters(n, dim), np.arange(n) % 6
    sides = slice(round(queries * n)), slice(round(queries * n), None)
    parts = [part[side] for side in sides for part in labels]
    return lambda: evaluate(*parts, rerank=rerank() if reranked else None)


def embedding(n: int, _: int) -> Kernel:
    import torch  # noqa: PLC0415

    embedder = imported("load_embedder", "inference.loading")("bundled")
    size = n, 3, embedder.height, embedder.width
    images = torch.randint(255, size, dtype=torch.uint8)
    return lambda: embedder.embed(images)


QUICK: dict[str, tuple[Callable[[int, int], Kernel], int, int]] = {
    "neighbours": (neighbours, 6000, 512),
    "approximate": (partial(neighbours, backend="approximate"), 15_000, 64),
    "graph": (graph, 6000, 512),
    "whitening": (whitening, 3000, 1024),
    "evaluation": (partial(evaluation, queries=0.1), 6000, 512),
    "re-ranking": (partial(evaluation, queries=0.1, reranked=True), 6000, 512),
    "embedding": (embedding, 256, 0),
}
LARGE: dict[str, tuple[Callable[[int, int], Kernel], int, int]] = {
    "neighbours": (neighbours, 12_936, 2048),
    "many": (neighbours, 100_000, 256),
    "approximate": (partial(neighbours, backend="approximate"), 100_000, 128),
    "aligned": (partial(aligned, backend="torch"), 12_936, 1280),
    "from-means": (partial(aligned, backend="approximate"), 12_936, 1280),
    "whitening": (whitening, 12_936, 2048),
    "alike-cameras": (partial(whitening, differ=False), 12_936, 2048),
    "evaluation": (partial(evaluation, queries=2000 / 42_000), 42_000, 256),
    "re-ranking": (partial(evaluation, queries=11_659 / 93_820, reranked=True), 93_820, 256),
}


def serve(large: bool) -> None:
    """Read names of kernels, run each and print its processor time."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    imported("jaccard_graph", "clustering.jaccard")
    print("ready", file=answers)
    made, run = "", None
    for name in sys.stdin:
        if name != made:
            make, n, dim = (LARGE if large else QUICK)[name.strip()]
            if large:  # compiles
                make(n // 40, dim)()
            made, run = name, make(n, dim)
        start = time.process_time()
        run()
        print(time.process_time() - start, file=answers)


class Side:
    """A process that runs the kernels of one source tree."""

    def __init__(self, source: Path, large: bool) -> None:
        ones = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", *(["--large"] if large else [])],
            env=os.environ | ones | {"PYTHONPATH": str(source / "src")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise SystemExit(f"the process ended with exit status {self.process.wait()}")
        return text

    def seconds(self, name: str) -> float:
        assert self.process.stdin is not None
        print(name, file=self.process.stdin, flush=True)
        return float(self.line())

    def end(self) -> None:
        self.process.communicate()


def compare(base: Path, options: argparse.Namespace) -> None:
    """Run the kernels of both trees by turns, and print the ratios."""
    start = time.perf_counter()
    sides = [Side(source, options.large) for source in (base, ROOT)]
    for side in sides:
        side.line()
    chosen = options.only or list(LARGE if options.large else QUICK)
    print(f"{'processor time':16}{options.base[:12]:>14}{'this tree':>14}{'ratio':>8}", flush=True)
    for at, name in enumerate(chosen):
        end = start + SECONDS * (at + 1) / len(chosen)
        first = [0.0, 0.0] if options.large else [side.seconds(name) for side in sides]  # compiles
        turns: list[list[float]] = []
        while len(turns) < options.turns or (
            not options.large and len(turns) < 15 and time.perf_counter() + sum(first) < end
        ):
            turns.append([side.seconds(name) for side in sides])
        before, after = (median(turn[side] for turn in turns) for side in (0, 1))
        ratio = median(turn[1] / turn[0] for turn in turns)
        print(f"{name:16}{before:13.3f}s{after:13.3f}s{ratio:8.2f}", flush=True)
    for side in sides:
        side.end()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("base", nargs="?", default="HEAD", help="a commit (HEAD)")
    parser.add_argument("--large", action="store_true", help="tens of thousands of images")
    parser.add_argument("--only", nargs="+", metavar="KERNEL", help=", ".join({**QUICK, **LARGE}))
    parser.add_argument("--turns", type=int, default=3, help="at least so many (3)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.large)
        return
    known = LARGE if options.large else QUICK
    if unknown := sorted(set(options.only or []) - set(known)):
        raise SystemExit(f"no kernel is called {unknown[0]}; there are {', '.join(known)}")
    with tempfile.TemporaryDirectory(prefix="quick-") as folder:
        base = Path(folder, "base")
        worktree = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*worktree, "add", "-q", "--detach", str(base), options.base], check=True)
        try:
            compare(base, options)
        finally:
            subprocess.run([*worktree, "remove", "--force", str(base)], check=True)


if __name__ == "__main__":
    main()
