"""Embed a whole split with a network in eval mode, in shards across processes."""

import torch
from torch import Tensor

from dccc_lightning import distributed
from dccc_lightning.console import track
from dccc_lightning.data.augmentation import normalize
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.faults import SMALLER_STEPS, enough_memory
from dccc_lightning.module import DCCCModule


def embed_split(module: DCCCModule, datamodule: ReIDDataModule, split: str) -> Tensor:
    """Embed every image of a split with the student: test transform, eval mode.

    Args:
        module: Its student embeds; its mode is as before afterwards.
        datamodule: Holds the images.
        split: ``train``, ``query`` or ``gallery``.

    Returns:
        (N, D) float32 embeddings of length 1 in the order of the split, on the module's device,
        the same on every process.
    """
    rank, processes = distributed.world()
    length = len(getattr(datamodule.splits, split))
    loader = datamodule.ordered_loader(split, distributed.shard(length, rank, processes))
    was_training = module.student.training
    module.student.eval()
    batches = track(loader, f"embedding the {split} images", len(loader), rank == 0)
    precision = module.trainer.precision_plugin.forward_context()  # that of the evaluation
    with torch.inference_mode(), precision, enough_memory(SMALLER_STEPS):
        parts = [
            module.student(normalize(images.to(module.device, non_blocking=True)))
            for images, _ in batches
        ]
    module.student.train(was_training)
    return distributed.gather_shards(torch.cat(parts), length)
