"""Time and peak memory of an epoch's pseudo-labelling, beside another commit.

    python benchmarks/labelling.py 5e9653f --sizes 12936x2048 30000x256

From embeddings to labels and the figures of the clusters: ``PseudoLabeler`` and ``summarize`` as
``Recluster`` calls them, on the embeddings of ``pseudo_labels.py``. Each side runs in processes of
its own, by turns; the least CPU time of ``--turns`` counts (on one thread other processes hardly
disturb it), and the largest memory above the features.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from jaccard import peak
from pseudo_labels import embeddings

from dccc_lightning import neighbors
from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.metrics.cluster_summary import summarize

ROOT = Path(__file__).resolve().parents[1]


def measure(n: int, dim: int, camera: str) -> dict[str, float | str]:
    """Label and describe ``n`` embeddings with the package on the path."""
    rows, identities = embeddings(n, dim, 32, 0.7)
    cameras = np.random.default_rng(1).integers(0, 6, n)
    features = torch.from_numpy(rows)

    def label(labeler: PseudoLabeler, images: slice) -> np.ndarray:
        rows = features[images]
        unit = neighbors.UnitEmbeddings.of(rows) if "UnitEmbeddings" in dir(neighbors) else rows
        labels = labeler(unit, FixedSchedule(0.6), 0, cameras[images]).labels
        figures = summarize(labels, identities[images], labels, cameras[images], unit)
        return np.append(labels, np.nan_to_num(list(figures.values())))

    label(PseudoLabeler(), slice(1000))  # compiles
    before, start = peak(reset=True), time.process_time()
    found = label(PseudoLabeler(camera=camera), slice(None))
    seconds = time.process_time() - start
    digest = hashlib.sha256(found.tobytes()).hexdigest()
    return {"seconds": seconds, "megabytes": peak() - before, "answer": digest}


def run(source: Path, arguments: list[str]) -> dict[str, float | str]:
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONSAFEPATH": ""}
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("base", nargs="?", default="HEAD", help="a commit (HEAD)")
    parser.add_argument("--sizes", nargs="+", default=["12936x2048", "30000x256"])
    parser.add_argument("--cameras", nargs="+", default=["none", "center"])
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        size, camera = options.measure
        print(json.dumps(measure(*map(int, size.split("x")), camera)))
        return
    with tempfile.TemporaryDirectory(prefix="labelling-") as folder:
        checkout = Path(folder, "base")
        worktree = ["git", "worktree"]
        subprocess.run(
            [*worktree, "add", "-q", "--detach", str(checkout), options.base], cwd=ROOT, check=True
        )
        try:
            print("N x D | camera | CPU seconds before | after | MB before | after | same answer")
            for size in options.sizes:
                for camera in options.cameras:
                    turns = [
                        [run(source / "src", [size, camera]) for source in (checkout, ROOT)]
                        for _ in range(options.turns)
                    ]
                    sides = list(zip(*turns, strict=True))
                    seconds = [min(turn["seconds"] for turn in side) for side in sides]
                    memory = [max(turn["megabytes"] for turn in side) for side in sides]
                    answers = {turn["answer"] for side in sides for turn in side}
                    print(
                        f"{size} | {camera} | {seconds[0]:.2f} | {seconds[1]:.2f} | "
                        f"{memory[0]:.0f} | {memory[1]:.0f} | {len(answers) == 1}",
                        flush=True,
                    )
        finally:
            subprocess.run([*worktree, "remove", "--force", str(checkout)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
