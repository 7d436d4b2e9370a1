"""Embedding of a split in shards across processes."""

import torch
from torch import Tensor, nn

from dccc_lightning.common import collectives
from dccc_lightning.common.faults import SMALLER_EVAL_BATCH, explain_out_of_memory
from dccc_lightning.common.progress import announced
from dccc_lightning.data.augmentation import normalize
from dccc_lightning.data.records import Records
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.errors import UserError
from dccc_lightning.models.turned_images import embed_turns
from dccc_lightning.module import DCCCModule

_NAMES = {"train": "training"}


def embed_split(
    module: DCCCModule, datamodule: ReIDDataModule, split: str, network: nn.Module | None = None
) -> Tensor:
    """Embed all images of a split with the test transform, in eval mode.

    Args:
        module: Module with device and precision.
        datamodule: DataModule of the images.
        split: ``train``, ``query`` or ``gallery``.
        network: Student or teacher of the module; None for the student. Its mode is restored.

    Returns:
        (N, D) float32 unit embeddings in the order of the split, on the module's device, the same
        on every process; (N, 4, D) of the quarter turns if the datamodule's are to be aligned.
    """
    rank, processes = collectives.world()
    length = len(getattr(datamodule.splits, split))
    positions = collectives.shard(length, rank, processes)
    loader = datamodule.ordered_loader(split, positions)
    network = network or module.student
    was_training = network.training
    network.eval()
    name = f"embedding the {_NAMES.get(split, split)} images"
    parts = []
    precision = module.trainer.precision_plugin.forward_context()  # as in the evaluation
    with (
        torch.inference_mode(),
        precision,
        explain_out_of_memory(SMALLER_EVAL_BATCH),
        announced(name, len(positions)) as phase,
    ):
        for images, _ in loader:
            pixels = normalize(images.to(module.device, non_blocking=True))
            parts.append(embed_turns(network, pixels, datamodule.match == "aligned"))
            phase.advance(len(images))
    network.train(was_training)
    return collectives.gather_shards(torch.cat(parts), length)


def require_finite(embeddings: Tensor, records: Records, epoch: int) -> None:
    """Raise a ``UserError`` that names the first image with a NaN or infinite embedding."""
    bad = (~embeddings.isfinite().flatten(1).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        others = f" and those of {len(bad) - 1} more of {len(records)}" if len(bad) > 1 else ""
        raise UserError(
            f"epoch {epoch}: the embedding of {records.paths[bad[0]]}{others} is NaN or infinite: "
            "training has diverged, or the weights are damaged; try a lower optimizer.lr"
        )
