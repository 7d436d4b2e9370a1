"""Neighbours and Jaccard graph on a GPU against the CPU, in one run on the same embeddings.

    python benchmarks/gpu_kernels.py --device cuda
    python benchmarks/gpu_kernels.py --sizes 600x64

The exact search is timed on the CPU, by faiss on the GPUs where its build has them, and by torch
on ``--device``; the graph by numba on the CPU and by torch on ``--device``. What the device finds
is compared with what the CPU finds. The embeddings are those of ``jaccard.py``.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import faiss
import numpy as np
import torch
from jaccard import embeddings

from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.neighbors import nearest

K1, K2, EPS = 30, 6, 0.6
Found = TypeVar("Found")


def timed(work: Callable[[], Found], device: torch.device) -> tuple[Found, dict[str, Any]]:
    """Return what ``work`` returns, with its seconds and the peak memory of a GPU."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    found = work()
    if cuda:
        torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() if cuda else None
    return found, {"seconds": time.perf_counter() - start, "peak_bytes": peak}


def measured(number: int, dim: int, device: torch.device) -> dict[str, Any]:
    """Return the figures of one size."""
    features = embeddings(number, dim)
    moved = torch.from_numpy(features).to(device)
    cpu, row = torch.device("cpu"), {"number": number, "dim": dim}
    with patch.object(nearest, "_gpus", lambda: 0):
        nearest.knn(features[: 4 * K1], K1, "faiss")  # compiles
        (distances, ranks), row["knn_cpu"] = timed(lambda: nearest.knn(features, K1, "faiss"), cpu)

    def compared(backend: str) -> dict[str, Any]:
        nearest.knn(moved[: 2 * K1], K1, backend)
        found, figures = timed(lambda: nearest.knn(moved, K1, backend), device)
        gap = float(np.abs(found[0] - distances).max())
        return figures | {"same": bool(np.array_equal(found[1], ranks)), "largest_gap": gap}

    row["knn_torch"] = compared("torch")
    row["knn_faiss"] = compared("faiss") if faiss.get_num_gpus() else None
    neighbors = distances, ranks
    graphs = {}
    for name, rows, at in (("numba", features, cpu), ("torch", moved, device)):
        jaccard_graph(rows[: 4 * K1], K1, K2, backend=name)  # compiles
        graphs[name], figures = timed(
            lambda name=name, rows=rows: jaccard_graph(
                rows, K1, K2, neighbors=neighbors, backend=name
            ),
            at,
        )
        row[f"graph_{name}"] = figures
    ours, theirs = (graphs[name].distances for name in ("numba", "torch"))
    same = np.array_equal(ours.indices, theirs.indices)
    labels = [DBSCAN().fit_predict(graph, EPS) for graph in graphs.values()]
    row["graph_torch"] |= {
        "same": bool(same and np.array_equal(*labels)),
        "largest_gap": float(np.abs(ours.data - theirs.data).max()) if same else None,
    }
    return row


def size(text: str) -> tuple[int, int]:
    """Read ``12936x2048``."""
    number, dim = text.split("x")
    return int(number), int(dim)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=size, nargs="+", default=[(4000, 256)])
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--json", type=Path, help="file for the figures, written after each size")
    options = parser.parse_args()
    rows = []
    for number, dim in options.sizes:
        rows.append(measured(number, dim, options.device))
        for name, figures in rows[-1].items():
            print(f"{name:12} {figures}", flush=True)
        if options.json:
            found = {"device": str(options.device), "faiss": faiss.__version__, "rows": rows}
            options.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
