"""Images a second of our training loop, of the bare network, and of a plain loop.

    python benchmarks/train_step.py                     # ResNet-50, 4 x 4 at 256 x 128
    python benchmarks/train_step.py --tiny              # ResNet-10 at half width, 8 x 8 at 64 x 32
    python benchmarks/train_step.py --device cuda --clusters 16 --instances 16 --compile

Three ways to make the same steps, by turns, in one process:

- bare: the network alone, on random tensors of the same shape, precision and layout: teacher
  forward, student forward, backward. No loop around it can be faster.
- ours: ``Trainer.fit`` with this package's datamodule and module: sampler, images, two views each,
  loss, optimiser, memory, teacher.
- plain: as repositories of this family do it: Pillow decodes and transforms each image twice, in
  loader workers, in float32; the memory is updated in a loop over clusters, the teacher in a loop
  over parameters, and ``.item()`` is called at each step.

All three have the command line's settings of the allocator and of waiting threads. The median step
of all turns counts; ``--busy`` measures processor time, for machines that do other work, without
that of plain's loader workers. ``--compile`` adds the bare network and ours with
``torch.compile``. ``--json FILE`` writes the figures after each turn.
"""

import argparse
import copy
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dccc_lightning.common.allocator import keep_freed_memory
from dccc_lightning.common.waiting_threads import sleep_when_idle
from dccc_lightning.data.augmentation import IMAGENET_MEAN, IMAGENET_STD, BatchAugmentation
from dccc_lightning.data.records import Records
from dccc_lightning.data.sampler import draw_batches
from dccc_lightning.data.synthetic.dataset import SyntheticPedestrians
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.losses import SoftContrastiveLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.network import Embedder
from dccc_lightning.module import DCCCModule
from dccc_lightning.training.callbacks.loss_guard import LossGuard
from dccc_lightning.training.callbacks.progress_bar import PhaseProgress
from dccc_lightning.training.callbacks.run_checkpoint import RunCheckpoint
from dccc_lightning.training.optimization import Optimization

MOMENTUM, TAU_W, TEMPERATURE, SMOOTHING, DECAY = 0.1, 0.09, 0.05, 0.3, 0.999
WARM_UP = 2  # steps of each turn that do not count
SECONDS = {False: time.perf_counter, True: time.process_time}  # --busy


class Clock(pl.Callback):
    """Note when each step ends."""

    def __init__(self, options: argparse.Namespace, last: int) -> None:
        self.device, self.seconds = options.device, SECONDS[options.busy]
        self.waits = (WARM_UP - 1, last)
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        """Wait for a GPU at the first and last steps only: a wait at each would slow it down."""
        if self.device.type == "cuda" and len(self.ends) in self.waits:
            torch.cuda.synchronize(self.device)
        self.ends.append(self.seconds())


class Bare:
    """The network and nothing else."""

    def __init__(
        self, network: Embedder, options: argparse.Namespace, compiled: bool = False
    ) -> None:
        self.options = options
        self.device, self.precision = options.device, options.precision
        self.student = copy.deepcopy(network).to(self.device).train()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        if compiled:
            self.student.compile()
            self.teacher.compile()
        shape = (options.clusters * options.instances, 3, options.height, options.width)
        self.views = [
            torch.randn(shape, device=self.device).contiguous(memory_format=torch.channels_last)
            for _ in range(2)
        ]
        self.slope = torch.randn(shape[0], network.feature_dim, device=self.device)

    def steps(self, number: int) -> list[float]:
        """Return the seconds of ``number`` steps."""
        return timed(self._step, number, self.options)

    def _step(self) -> None:
        with mixed(self.device, self.precision):
            with torch.no_grad():
                self.teacher(self.views[1])
            embeddings = self.student(self.views[0])
        (embeddings * self.slope).sum().backward()
        self.student.zero_grad(set_to_none=True)


class Ours:
    """The package's loop."""

    def __init__(
        self,
        network: Embedder,
        world: SyntheticPedestrians,
        options: argparse.Namespace,
        folder: Path,
        compiled: bool = False,
    ) -> None:
        self.options, self.folder = options, folder / "run"
        self.datamodule = ReIDDataModule(
            world,
            height=options.height,
            width=options.width,
            clusters=options.clusters,
            instances=options.instances,
            iterations=options.steps + WARM_UP,
            augmentation=BatchAugmentation(options.height, options.width, padding=options.padding),
            cache=options.cache,
        )
        self.module = DCCCModule(
            copy.deepcopy(network),
            ClusterMemory(network.feature_dim, MOMENTUM, TEMPERATURE, "dycl", TAU_W),
            SoftContrastiveLoss(SMOOTHING),
            Optimization(),
            compile=compiled,
        )
        self.datamodule.setup()
        labels = cluster_labels(self.datamodule.splits.train)
        self.datamodule.set_pseudo_labels(labels, 0)
        self.module.memory.rebuild(random_embeddings(len(labels), network.feature_dim), labels)

    def steps(self, number: int) -> list[float]:
        """Fit one epoch and return the seconds of its steps but the first ones."""
        options, clock = self.options, Clock(self.options, number + WARM_UP - 1)
        trainer = pl.Trainer(
            default_root_dir=self.folder,
            accelerator="gpu" if options.device.type == "cuda" else "cpu",
            devices=1,
            precision=options.precision,
            max_epochs=1,
            callbacks=[LossGuard(self.folder), PhaseProgress(), RunCheckpoint(self.folder), clock],
            logger=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
        )
        trainer.fit(self.module, datamodule=self.datamodule)
        return list(np.diff(clock.ends)[WARM_UP - 1 :])


class PlainImages(Dataset[tuple[Tensor, Tensor, int]]):
    """Each image decoded and transformed twice, by Pillow and torchvision."""

    def __init__(self, records: Records, labels: np.ndarray, options: argparse.Namespace) -> None:
        self.records, self.labels = records, labels
        self.transform = transforms.Compose(
            [
                transforms.Resize((options.height, options.width), interpolation=3),
                transforms.RandomHorizontalFlip(),
                transforms.Pad(options.padding),
                transforms.RandomCrop((options.height, options.width)),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
                transforms.RandomErasing(p=0.5, value=IMAGENET_MEAN),
            ]
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        image = Image.open(self.records.paths[index]).convert("RGB")
        return self.transform(image), self.transform(image), int(self.labels[index])


class Plain:
    """The loop as it is commonly written."""

    def __init__(self, network: Embedder, records: Records, options: argparse.Namespace) -> None:
        self.options = options
        self.labels = cluster_labels(records)
        self.images = PlainImages(records, self.labels, options)
        self.student = copy.deepcopy(network).to(
            options.device, memory_format=torch.contiguous_format
        )
        self.teacher = copy.deepcopy(self.student)
        self.optimizer = torch.optim.Adam(
            [p for p in self.student.parameters() if p.requires_grad], lr=3.5e-4, weight_decay=5e-4
        )
        embeddings = random_embeddings(len(records), network.feature_dim)
        self.centroids = torch.stack(
            [
                F.normalize(embeddings[self.labels == cluster].mean(dim=0), dim=0)
                for cluster in range(self.labels.max() + 1)
            ]
        ).to(options.device)

    def steps(self, number: int) -> list[float]:
        """Return the seconds of the steps of one epoch but the first ones."""
        options = self.options
        batches = draw_batches(
            self.labels, self.images.records.cameras, options.clusters, options.instances,
            number + WARM_UP, 0, 0,
        )  # fmt: skip
        loader = DataLoader(
            self.images, batch_sampler=batches.tolist(), num_workers=options.workers
        )
        self.student.train(), self.teacher.train()
        ends = [self._step(*batch) for batch in loader]
        return list(np.diff(ends)[WARM_UP - 1 :])

    def _step(self, view1: Tensor, view2: Tensor, labels: Tensor) -> float:
        device = self.options.device
        view1, view2, labels = view1.to(device), view2.to(device), labels.to(device)
        features = plain_embed(self.student, view1)
        with torch.no_grad():
            other = plain_embed(self.teacher, view2)
        logits = features @ self.centroids.T / TEMPERATURE
        target = SMOOTHING * (other @ self.centroids.T / TEMPERATURE).softmax(dim=1)
        target += (1 - SMOOTHING) * F.one_hot(labels, len(self.centroids))
        loss = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for cluster in labels.unique().tolist():
                old, members = self.centroids[cluster], features.detach()[labels == cluster]
                new = (-(members @ old) / TAU_W).softmax(dim=0) @ members
                self.centroids[cluster] = F.normalize(MOMENTUM * old + (1 - MOMENTUM) * new, dim=0)
            for mean, now in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                mean.data.mul_(DECAY).add_(now.data, alpha=1 - DECAY)
        loss.item()
        return SECONDS[self.options.busy]()


def plain_embed(network: Embedder, images: Tensor) -> Tensor:
    """Embed as ``Embedder`` does, but in the memory format that the images come in."""
    pooled = network.pooling(network.backbone(images))
    return F.normalize(network.neck(pooled), dim=1)


def timed(step: Callable[[], None], number: int, options: argparse.Namespace) -> list[float]:
    """Return the seconds of ``number`` steps after the warm-up."""
    ends = []
    for at in range(number + WARM_UP):
        step()
        if options.device.type == "cuda" and at in (WARM_UP - 1, number + WARM_UP - 1):
            torch.cuda.synchronize(options.device)
        ends.append(SECONDS[options.busy]())
    return list(np.diff(ends)[WARM_UP - 1 :])


def mixed(device: torch.device, precision: str) -> torch.autocast | nullcontext[None]:
    """Return what Lightning's precision of this name does."""
    if precision == "bf16-mixed":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def cluster_labels(records: Records) -> np.ndarray:
    """Return the identities, numbered from 0, in place of pseudo labels."""
    return np.unique(records.identities, return_inverse=True)[1].astype(np.int64)


def random_embeddings(number: int, dim: int) -> Tensor:
    """Return (number, dim) rows of length one."""
    return F.normalize(torch.randn(number, dim, generator=torch.Generator().manual_seed(0)), dim=1)


def turns(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, list[float]]]:
    """Yield the seconds of the steps of each way, by turns."""
    size = {"height": options.height, "width": options.width}
    world = SyntheticPedestrians(root=folder, test_identities=1, **size)
    torch.manual_seed(0)
    network = build_embedder(
        options.backbone,
        width=0.5 if options.backbone == "resnet10" else 1.0,
        weights=None,
        image_size=(options.height, options.width),
    )
    records = world.splits().train
    makers: dict[str, Callable[[], Bare | Ours | Plain]] = {
        "bare": lambda: Bare(network, options),
        "ours": lambda: Ours(network, world, options, folder),
        "plain": lambda: Plain(network, records, options),
        "compiled bare": lambda: Bare(network, options, True),
        "compiled ours": lambda: Ours(network, world, options, folder, True),
    }
    ways = {name: makers[name]() for name in options.ways}
    for _ in range(options.turns):
        for name, way in ways.items():
            yield name, way.steps(options.steps)


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes of tensors on a GPU since the last call; None on a processor."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def figures(
    options: argparse.Namespace, seconds: dict[str, list[float]], peaks: dict[str, int | None]
) -> dict[str, Any]:
    """Return what was measured so far, as written to ``--json``."""
    # Without a wait at each step, single steps of a GPU say nothing: their mean does.
    average = statistics.mean if options.device.type == "cuda" else statistics.median
    images = options.clusters * options.instances
    steps = {name: average(times) for name, times in seconds.items() if times}
    return {
        "backbone": options.backbone,
        "batch": images,
        "height": options.height,
        "width": options.width,
        "device": str(options.device),
        "precision": options.precision,
        "ways": {
            name: {
                "images_per_second": images / step,
                "step_ms": 1e3 * step,
                "peak_bytes": peaks[name],
            }
            for name, step in steps.items()
        },
    }


def main() -> None:
    if sleep_when_idle():  # a variable that OpenMP reads when torch is imported
        os.execv(sys.executable, sys.orig_argv)
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="the sizes of the synthetic default")
    parser.add_argument("--backbone")
    parser.add_argument("--clusters", type=int, help="P")
    parser.add_argument("--instances", type=int, help="K")
    parser.add_argument("--height", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--steps", type=int, help="of a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cache", choices=("ram", "none"), default="ram")
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1), help="plain's")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"))
    parser.add_argument("--plain", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--busy", action="store_true", help="measure processor time")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    parser.add_argument("--json", type=Path, help="file for the figures, written after each turn")
    options = parser.parse_args()
    options.ways = ["bare", "ours"] + ["plain"] * options.plain
    options.ways += ["compiled bare", "compiled ours"] * options.compile
    compile_module = torch.nn.Module.compile
    torch.nn.Module.compile = partialmethod(compile_module, backend=options.backend)
    defaults = (
        {"backbone": "resnet10", "clusters": 8, "instances": 8, "height": 64, "width": 32}
        if options.tiny
        else {"backbone": "resnet50", "clusters": 4, "instances": 4, "height": 256, "width": 128}
    ) | {
        "steps": 40 if options.tiny or options.device.type == "cuda" else 6,
        "precision": "bf16-mixed" if options.device.type == "cuda" else "32-true",
    }
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.padding = 2 if options.tiny else 10
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    seconds: dict[str, list[float]] = {name: [] for name in options.ways}
    peaks: dict[str, int | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, steps in turns(options, Path(folder)):
            seconds[name] += steps
            peaks[name] = peak_memory(options.device)
            if options.json:
                options.json.write_text(json.dumps(figures(options, seconds, peaks)))
    print(
        f"{options.backbone}, {options.clusters} x {options.instances} at {options.height} x "
        f"{options.width}, {options.device}, {options.precision}, {torch.get_num_threads()} "
        f"threads on {os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}"
        f"{', processor time' if options.busy else ''}"
    )
    ways = figures(options, seconds, peaks)["ways"]
    rate = {name: way["images_per_second"] for name, way in ways.items()}
    for name, way in ways.items():
        memory = f"{way['peak_bytes'] / 1e9:8.1f} GB" if way["peak_bytes"] is not None else ""
        print(f"{name:14}{rate[name]:10.1f} images/s{way['step_ms']:10.1f} ms a step{memory}")
    print(f"ours / bare   {rate['ours'] / rate['bare']:.3f}")
    if options.compile:
        print(f"both compiled {rate['compiled ours'] / rate['compiled bare']:.3f}")
    if options.plain:
        print(f"ours / plain  {rate['ours'] / rate['plain']:.3f}")
        print(f"bare / plain  {rate['bare'] / rate['plain']:.3f}   the most that can be had")


if __name__ == "__main__":
    sys.exit(main())
