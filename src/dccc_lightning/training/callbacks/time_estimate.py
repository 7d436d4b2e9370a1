"""Estimate of a run's duration, before its first epoch."""

import copy
import time
from collections.abc import Callable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from dccc_lightning.common.console import print_once
from dccc_lightning.common.progress import duration
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.module import DCCCModule
from dccc_lightning.training.callbacks.evaluation_interval import EvaluationEvery

_EMBEDDED = 32
"""Images of the trial embedding."""


class TimeEstimate(pl.Callback):
    """Callback that times one step and one embedding on copies, and prints how long the run takes.

    The run itself is as without it: no weight, statistic or random number changes. Reading images,
    clustering and checkpoints are not counted. Runs of several processes have no estimate: batch
    norm would wait for the others.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the estimate."""
        datamodule = getattr(trainer, "datamodule", None)
        if not isinstance(datamodule, ReIDDataModule) or not isinstance(pl_module, DCCCModule):
            raise TypeError("TimeEstimate works with a DCCCModule and a ReIDDataModule")
        if trainer.world_size > 1:
            return
        batch = datamodule.clusters * datamodule.instances
        with trainer.precision_plugin.forward_context():
            step = step_seconds(pl_module.student, self._images(datamodule, pl_module, batch))
            embed = embedding_seconds(
                pl_module.student, self._images(datamodule, pl_module, _EMBEDDED)
            )
        epochs = (trainer.max_epochs or 0) - trainer.current_epoch
        if pl_module.teacher is not None:
            step += batch * embed
        training = epochs * datamodule.iterations * step
        images = epochs * len(datamodule.splits.train) + self._tested(trainer, pl_module, epochs)
        embedding = images * embed
        print_once(
            f"about {duration(training + embedding)}: {epochs} epochs of {datamodule.iterations} "
            f"steps ({duration(training)}), and {images:,} embeddings of images for clusters and "
            f"scores ({duration(embedding)})"
        )

    def _tested(self, trainer: pl.Trainer, module: DCCCModule, epochs: int) -> int:
        """Return the number of embeddings of all evaluations."""
        splits = trainer.datamodule.splits  # type: ignore[attr-defined]
        callbacks = vars(trainer)["callbacks"]
        every = [c.epochs for c in callbacks if isinstance(c, EvaluationEvery)]
        if not splits.labelled or not every:
            return 0
        tests = len(splits.query) + len(splits.gallery)
        return -(-epochs // every[0]) * tests * len(module.networks())

    def _images(self, datamodule: ReIDDataModule, module: DCCCModule, number: int) -> Tensor:
        """Return images that need no random numbers."""
        shape = number, 3, datamodule.height, datamodule.width
        values = torch.arange(torch.Size(shape).numel(), device=module.device) % 97
        return (values / 97.0).view(shape)


def step_seconds(network: nn.Module, images: Tensor) -> float:
    """Return the seconds of forward and backward of a batch, on a copy of the network."""
    trained = copy.deepcopy(network).train()
    weights = [value for value in trained.parameters() if value.requires_grad]

    def step() -> None:
        with torch.enable_grad():
            torch.autograd.grad(trained(images).float().sum(), weights, allow_unused=True)

    return _second_time(step, images.device)


def embedding_seconds(network: nn.Module, images: Tensor) -> float:
    """Return the seconds per image of embedding, on a copy of the network."""
    evaluated = copy.deepcopy(network).eval()

    def embed() -> None:
        with torch.inference_mode():
            evaluated(images)

    return _second_time(embed, images.device) / len(images)


def _second_time(call: Callable[[], None], device: torch.device) -> float:
    """Return the seconds of the second call; the first one allocates and chooses kernels."""
    for _ in range(2):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    return seconds
