"""Where the time of an epoch goes: embedding, neighbours, graph, clustering, loader, training.

    python benchmarks/epoch.py                          # the synthetic default, on the CPU
    python benchmarks/epoch.py --market --device cuda   # the recipe and size of Market-1501
    python benchmarks/epoch.py --json epoch.json        # the figures as a file

Real epochs of the command line, without evaluation, with a clock around the functions that
do the parts (checkpoint: all after the last step, metrics.csv included). A GPU is waited for before
each reading, so parts do not hide behind one another and
the sum is an upper bound. For Market-1501, 12,936 images stand in: the drawn pedestrians at 256 x
128, over and over. Clusters are then larger and easier than real ones: the graph takes longer, and
embedding, search and training the same.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from dccc_lightning import cli
from dccc_lightning.clustering import pseudo_labels
from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.data.records import Records
from dccc_lightning.data.synthetic.dataset import SyntheticPedestrians
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.module import DCCCModule
from dccc_lightning.training.callbacks import recluster

PARTS = ("embedding", "neighbours", "graph", "clustering", "memory", "figures", "loader start",
         "training", "checkpoint")  # fmt: skip
EPOCHS = 70
"""Of the published recipes."""


class Clock:
    """Add up the seconds of parts, by epoch."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.epochs: list[dict[str, float]] = []

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            start = self.now()
            result = function(*arguments, **options)
            self.epochs[-1][part] += self.now() - start
            return result

        return timed


def repeated(splits: Callable[[], Any], number: int) -> Callable[[], Any]:
    """Let the training split have ``number`` images, the same ones over and over."""

    def stretched(self: SyntheticPedestrians) -> Any:
        found = splits(self)
        records: Records = found.train
        positions = np.resize(np.arange(len(records)), number)
        object.__setattr__(found, "train", records.select(positions.tolist()))
        return found

    return stretched


def write_figures(options: argparse.Namespace, seconds: dict[str, float]) -> None:
    """Write the seconds of the parts and the peak memory as JSON."""
    cuda = options.device.type == "cuda"
    found = {
        "device": str(options.device),
        "images": options.images if options.market else None,
        "epochs": EPOCHS,
        "seconds": seconds,
        "total_s": sum(seconds.values()),
        "gpu_peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    options.json.write_text(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--market", action="store_true")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--epochs", type=int, default=4, help="the first and last one do not count")
    parser.add_argument("--images", type=int, default=12_936, help="of --market")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("overrides", nargs="*", help="settings, as on the command line")
    options = parser.parse_args()
    clock = Clock(options.device)
    trainer = "gpu" if options.device.type == "cuda" else "cpu"
    settings = [
        f"epochs={options.epochs}", "eval_every=1000000", "notice=null", f"trainer={trainer}",
    ]  # fmt: skip
    if options.market:
        settings += [
            "model=resnet50", "model.weights=null", "image.height=256", "image.width=128",
            "augmentation.padding=10", "batch.clusters=16", "batch.instances=16", "iterations=200",
            "clustering.k1=30",
        ]  # fmt: skip

    start_epoch, first_batch = recluster.Recluster.refresh, DCCCModule.training_step
    end_epoch = DCCCModule.on_train_epoch_end
    marks: dict[str, float] = {}

    def refresh(self: Any, *arguments: Any) -> None:
        if clock.epochs:
            clock.epochs[-1]["checkpoint"] = clock.now() - marks["end"]
        clock.epochs.append(defaultdict(float))
        start_epoch(self, *arguments)
        marks["labels"] = clock.now()

    def training_step(self: DCCCModule, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 0:
            marks["first"] = clock.now()
            clock.epochs[-1]["loader start"] = marks["first"] - marks["labels"]
        return first_batch(self, batch, batch_idx)

    def on_train_epoch_end(self: DCCCModule) -> None:
        marks["end"] = clock.now()
        clock.epochs[-1]["training"] = marks["end"] - marks["first"]
        end_epoch(self)

    patches = [
        patch.object(recluster, "embed_split", clock.around("embedding", recluster.embed_split)),
        patch.object(recluster, "summarize", clock.around("figures", recluster.summarize)),
        patch.object(pseudo_labels, "knn", clock.around("neighbours", pseudo_labels.knn)),
        patch.object(
            pseudo_labels, "jaccard_graph", clock.around("graph", pseudo_labels.jaccard_graph)
        ),
        patch.object(DBSCAN, "fit_predict", clock.around("clustering", DBSCAN.fit_predict)),
        patch.object(ClusterMemory, "rebuild", clock.around("memory", ClusterMemory.rebuild)),
        patch.object(recluster.Recluster, "refresh", refresh),
        patch.object(DCCCModule, "training_step", training_step),
        patch.object(DCCCModule, "on_train_epoch_end", on_train_epoch_end),
    ]
    if options.market:
        splits = SyntheticPedestrians.splits
        patches += [
            patch.object(SyntheticPedestrians, "splits", repeated(splits, options.images)),
            patch.dict(SyntheticPedestrians.__init__.__kwdefaults__, height=256, width=128),
        ]
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for one in patches:
            one.start()
        output = f"output={Path(folder) / 'run'}"
        sys.argv = ["dccc_lightning", *settings, output, *options.overrides]
        cli.main()
    print(f"\n{options.device}, {torch.get_num_threads()} threads on {os.cpu_count()} CPU cores, "
          f"load {os.getloadavg()[0]:.1f}; median of {options.epochs - 2} epochs")  # fmt: skip
    # The first epoch warms up, after the last one nothing is timed.
    seconds = {part: float(np.median([e[part] for e in clock.epochs[1:-1]])) for part in PARTS}
    total = sum(seconds.values())
    for part, value in seconds.items():
        print(f"{part:14}{value:10.3f} s{value / total:8.1%}")
    print(f"{'all':14}{total:10.3f} s")
    print(f"all but training {1 - seconds['training'] / total:.1%}")
    if options.market:
        print(f"{EPOCHS} epochs {EPOCHS * total / 60:.1f} minutes, evaluation apart")
    if options.json:
        write_figures(options, seconds)


if __name__ == "__main__":
    main()
