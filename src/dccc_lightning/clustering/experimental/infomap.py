"""Infomap: communities of the graph of near points, found in a separate process.

Infomap is under the GPL (version 3 or later), so it is an optional extra. Loaded beside faiss,
whose bindings are made by SWIG as well, it ends Python with a segmentation fault.
"""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.algorithms import OUTLIER, check_eps, number_clusters
from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.common import ranges
from dccc_lightning.errors import UserError

_STOPPED = (-signal.SIGTERM, -signal.SIGUSR1, -signal.SIGHUP)
"""Signals that a scheduler sends to all processes of a job. The run ends later, at a point from
which it can be resumed, and needs its labels until then."""


@dataclass(frozen=True)
class Infomap:
    """Infomap (Rosvall and Bergstrom, PNAS 2008): the partition with the shortest random walk.

    Points within eps are linked with the weight 1 - distance. A random walk stays long within a
    community, so its description is short. Two levels, undirected. Points without a neighbour
    within eps are outliers.

    The search is greedy. The same graph and seed give the same labels; another order of the points
    may give slightly different ones.

    Attributes:
        min_samples: Least size of a cluster; points of smaller ones become outliers. Clusters are
            numbered by their first point.
        trials: Number of searches, of which the best counts.
        seed: Seed of the search.
    """

    min_samples: int = 4
    trials: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        ranges.infomap(self.min_samples, self.trials, self.seed)

    def fit_predict(self, graph: NeighborGraph, eps: float) -> NDArray[np.int64]:
        """Cluster the points of ``graph``, which is not changed.

        Args:
            graph: Distances between N points.
            eps: Longest edge, in (0, ``graph.max_distance``].

        Returns:
            (N,) int64, clusters from 0, or ``OUTLIER``.

        Raises:
            ValueError: ``eps`` is above ``graph.max_distance``.
            UserError: Infomap failed; the message has its last line.
        """
        edges = graph.distances.tocoo()
        kept = (edges.row < edges.col) & (edges.data <= check_eps(graph, eps))
        groups = np.full(len(graph), OUTLIER, dtype=np.int64)
        if kept.any():
            weights = 1 - edges.data[kept].astype(np.float64)
            links = np.column_stack([edges.row[kept], edges.col[kept], weights])
            points, communities = self._communities(links)
            groups[points] = communities
        return number_clusters(groups, self.min_samples)

    def _communities(self, links: NDArray[np.float64]) -> tuple[NDArray[np.int64], ...]:
        """Return the points with a link, and the community of each, from 1."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "graph.txt"
            np.savetxt(path, links, fmt=("%d", "%d", "%.9g"))
            options = f"--two-level --clu --silent --seed {self.seed} --num-trials {self.trials}"
            command = [sys.executable, "-m", "infomap", str(path), folder, *options.split()]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode in _STOPPED:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
                raise UserError(f"clustering=infomap: Infomap ended with {done.returncode}: {said}")
            table = np.loadtxt(path.with_suffix(".clu"), usecols=(0, 1), dtype=np.int64, ndmin=2)
        return table[:, 0], table[:, 1]
