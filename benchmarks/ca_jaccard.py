"""The camera-aware Jaccard graph beside the plain one, search included.

    python benchmarks/ca_jaccard.py             # the size of Market-1501 and of ResNet-50
    python benchmarks/ca_jaccard.py --n 32621 --cameras 15 --device cuda

Embeddings are those of ``cameras.py``. Both graphs are built in turn, ``--turns`` times; printed
are the medians and the median ratio of the turns.
"""

import argparse
from statistics import median

import numpy as np
import torch
from cameras import best, photographed
from pseudo_labels import K1, K2

from dccc_lightning.clustering.ca_jaccard import ca_jaccard_graph
from dccc_lightning.clustering.jaccard import jaccard_graph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=12_936)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    rows, cameras = photographed(chosen.n, chosen.dim, chosen.cameras)
    features = torch.from_numpy(rows).to(chosen.device)
    small = np.arange(len(features[:200])) % 2
    jaccard_graph(features[:200])  # compiles
    ca_jaccard_graph(features[:200], small)
    turns = [
        (
            best(lambda: jaccard_graph(features, K1, K2), 1),
            best(lambda: ca_jaccard_graph(features, cameras), 1),
        )
        for _ in range(chosen.turns)
    ]
    plain, aware = (median(times) for times in zip(*turns, strict=True))
    ratio = median(second / first for first, second in turns)
    print(f"{chosen.n:,} x {chosen.dim}, {chosen.cameras} cameras, {chosen.device}")
    print(f"{'plain':14} {plain:8.3f} s")
    print(f"{'camera-aware':14} {aware:8.3f} s   {ratio:5.2f} x plain")


if __name__ == "__main__":
    main()
