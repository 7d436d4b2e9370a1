"""Compare the speed of the kernels with that of another commit, in about two minutes.

    python benchmarks/quick.py            # against HEAD: did my change cost something?
    python benchmarks/quick.py 8b4824b --only neighbours whitening

The commit is checked out into a temporary folder. One process a side waits for the name of a
kernel, and both run it by turns on one thread, so that what else the machine does meets both. The
median of the ratios of processor time counts. Inputs are small: docs/performance.md has the sizes
that people use.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 100.0
"""Time for all turns together; the rest of the two minutes starts both sides."""


def clusters(n: int, dim: int, size: int = 20) -> Any:
    """Return unit embeddings (n, dim) of ``size`` images an identity, and the identities."""
    rng = np.random.default_rng(0)
    identities = rng.integers(0, n // size, n)
    rows = rng.standard_normal((n // size, 32)) @ rng.standard_normal((32, dim)) / 6
    rows = rows[identities] + 0.7 * rng.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), identities


def kernels() -> dict[str, Callable[[], Any]]:
    """Return the kernels by name, imported from the package that comes first in the path."""
    import torch  # noqa: PLC0415

    from dccc_lightning import load_embedder  # noqa: PLC0415
    from dccc_lightning.clustering.algorithms import DBSCAN  # noqa: PLC0415
    from dccc_lightning.clustering.jaccard import jaccard_graph  # noqa: PLC0415
    from dccc_lightning.metrics.reranking import Rerank  # noqa: PLC0415
    from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval  # noqa: PLC0415
    from dccc_lightning.neighbors.camera_normalization import whiten  # noqa: PLC0415
    from dccc_lightning.neighbors.nearest import knn  # noqa: PLC0415

    torch.set_num_threads(1)
    rows, people = clusters(6000, 512)
    wide, _ = clusters(3000, 1024)
    many, _ = clusters(15_000, 64)
    cameras = np.arange(len(rows)) % 6
    found = knn(rows, 30)
    embedder = load_embedder("bundled")
    images = torch.randint(255, (256, 3, embedder.height, embedder.width), dtype=torch.uint8)
    sides = [part[side] for side in (slice(0, 600), slice(600, None))
             for part in (rows, people, cameras)]  # fmt: skip
    return {
        "neighbours": lambda: knn(rows, 30),
        "approximate": lambda: knn(many, 30, "approximate"),
        "graph": lambda: DBSCAN().fit_predict(jaccard_graph(rows, 30, 6, 0.6, found), 0.6),
        "whitening": lambda: whiten(wide, cameras[:3000]),
        "evaluation": lambda: evaluate_retrieval(*sides),
        "re-ranking": lambda: evaluate_retrieval(*sides, rerank=Rerank()),
        "embedding": lambda: embedder.embed(images),
    }


def serve() -> None:
    """Read names of kernels, run each and print its processor time."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    runs = kernels()
    source = Path(os.environ["PYTHONPATH"])
    for (
        name,
        module,
    ) in sys.modules.items():  # an installed package would stand in for a missing one
        file = getattr(module, "__file__", None)
        if name.startswith("dccc_lightning") and file and not Path(file).is_relative_to(source):
            raise SystemExit(f"the commit has no module {name}; choose a later one")
    print(" ".join(runs), file=answers)
    for name in sys.stdin:
        start = time.process_time()
        runs[name.strip()]()
        print(time.process_time() - start, file=answers)


class Side:
    """A process that runs the kernels of one source tree."""

    def __init__(self, source: Path) -> None:
        ones = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--serve"],
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


def compare(base: Path, only: list[str] | None, label: str) -> None:
    """Run the kernels of both trees by turns, and print the ratios."""
    start = time.perf_counter()
    sides = [Side(base), Side(ROOT)]
    names = [side.line().split() for side in sides][1]
    chosen = only or names
    if unknown := sorted(set(chosen) - set(names)):
        raise SystemExit(f"no kernel is called {unknown[0]}; there are {', '.join(names)}")
    print(f"{'processor time':16}{label[:12]:>14}{'this tree':>14}{'ratio':>8}", flush=True)
    for at, name in enumerate(chosen):
        end = start + SECONDS * (at + 1) / len(chosen)
        first = [side.seconds(name) for side in sides]  # compiles
        turns: list[list[float]] = []
        while len(turns) < 3 or (len(turns) < 15 and time.perf_counter() + sum(first) < end):
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
    parser.add_argument("--only", nargs="+", metavar="KERNEL")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    with tempfile.TemporaryDirectory(prefix="quick-") as folder:
        base = Path(folder, "base")
        worktree = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*worktree, "add", "-q", "--detach", str(base), options.base], check=True)
        try:
            compare(base, options.only, options.base)
        finally:
            subprocess.run([*worktree, "remove", "--force", str(base)], check=True)


if __name__ == "__main__":
    main()
