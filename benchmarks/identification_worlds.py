"""Identities of the synthetic worlds, beside agglomerative clustering at its best threshold.

    python -m dccc_lightning experiment=dccc_plus dataset.seed=11 seed=11 output=RUN11  (and so on)
    python benchmarks/identification_worlds.py bundled:11 RUN11:11 ...

Each argument is a checkpoint and the seed of a world. For its training and test images: the scores
of ``task=identify``'s label-free rule without and with ``camera=center``, of the run's last eps,
and of average linkage of the cosines at the threshold with the highest F1, which needs the truth.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from dccc_lightning import load_embedder
from dccc_lightning.data.synthetic.dataset import SyntheticPedestrians
from dccc_lightning.identities.identification import Identifier
from dccc_lightning.metrics.identified_images import identification_scores
from dccc_lightning.reports.metrics_table import read_rows

CANDIDATES = 100
"""Thresholds among which the alternative has the best."""


def plain(rows, true):
    """Return the best scores of average linkage of the cosines."""
    tree = linkage(pdist(rows.astype(np.float64), "cosine"), "average")
    heights = np.quantile(tree[:, 2], np.linspace(0, 1, CANDIDATES))
    found = (identification_scores(fcluster(tree, h, "distance"), true) for h in heights)
    return max(found, key=lambda scores: scores["idf1"])


def main():
    """Print a line per checkpoint, split and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="CHECKPOINT:WORLD")
    for run in parser.parse_args().runs:
        checkpoint, _, seed = run.rpartition(":")
        splits = SyntheticPedestrians(name="synthetic", root=None, seed=int(seed)).splits()
        embedder = load_embedder(checkpoint)
        for split in ("train", "test"):
            parts = [splits.train] if split == "train" else [splits.query, splits.gallery]
            paths = [str(path) for part in parts for path in part.paths]
            true, cameras = (
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("identities", "cameras")
            )
            if split == "test":
                true = np.where(true == 0, -1, true)  # distractors
            rows = embedder.embed(paths).numpy()
            methods = {"rule": Identifier(), "rule, camera=center": Identifier(camera="center")}
            if checkpoint != "bundled":
                eps = read_rows(Path(checkpoint) / "metrics.csv")[-1]["cluster/eps"]
                methods[f"eps {eps:.3f}, center"] = Identifier(eps, camera="center")
            scores = {
                name: identification_scores(identifier(rows, cameras), true)
                for name, identifier in methods.items()
            }
            scores["average linkage, best threshold"] = plain(rows, true)
            for name, own in scores.items():
                figures = " ".join(f"{own[key]:.3f}" for key in ("idf1", "ari", "purity"))
                print(f"{checkpoint} {seed} {split:5} {name:32} {figures}", flush=True)


if __name__ == "__main__":
    main()
