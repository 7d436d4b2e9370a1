"""Embeddings with their images for TensorBoard's projector."""

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger

from dccc_lightning.data.records import UNKNOWN, Splits
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.reports.boards.board import named
from dccc_lightning.reports.boards.thumbnails import SplitImages
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.training.callbacks.clustering_watcher import ClusteringWatcher, first_of
from dccc_lightning.training.callbacks.epoch_panels import Panels

IMAGES = 1000
"""Most images of an epoch, the same in all epochs; of 2,048 dimensions they take 16 MB."""

SIDE = 64
"""Height and width of an image in the sprite; the projector reads sprites of at most 8,192."""

DIGITS = 4
"""Decimals of the embeddings, which are stored as text."""


class TensorBoardProjector(ClusteringWatcher):
    """Callback that writes embeddings with labels and images for TensorBoard's projector.

    It does so on rank 0, in the epochs of ``Panels``, and without that or a TensorBoard logger does
    nothing. The embeddings are those of the epoch's clustering; nothing is embedded again.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Subscribe to the clusterings of ``Recluster``."""
        panels = first_of(trainer, Panels)
        logger = next((x for x in trainer.loggers if isinstance(x, TensorBoardLogger)), None)
        if stage != "fit" or not (panels and logger and trainer.is_global_zero):
            return

        def watch(
            epoch: int,
            embeddings: UnitEmbeddings,
            labels: NDArray[np.int64],
            previous: NDArray[np.int64] | None,
            eps: float,
        ) -> None:
            if panels.is_due(trainer, epoch):
                with warn_on_failure("embeddings in TensorBoard"):
                    datamodule = vars(trainer)["datamodule"]
                    _write(logger, epoch, embeddings, labels, datamodule)

        self.watch(trainer, watch)


def _write(
    logger: TensorBoardLogger,
    epoch: int,
    embeddings: UnitEmbeddings,
    labels: NDArray[np.int64],
    datamodule: ReIDDataModule,
) -> None:
    rows = UnitEmbeddings.of(embeddings).rows
    shown = np.linspace(0, len(rows) - 1, min(IMAGES, len(rows))).astype(np.int64)
    load = SplitImages(datamodule.splits, min(1.0, datamodule.width / datamodule.height))
    height = min(SIDE, round(SIDE * datamodule.height / datamodule.width))
    header, table = metadata(datamodule.splits, labels, shown)
    logger.experiment.add_embedding(
        np.round(rows[shown].astype(np.float64), DIGITS),
        metadata=table,
        metadata_header=header,
        label_img=squares(load("train", shown, height)),
        global_step=epoch + 1,
        tag="embeddings",
    )


def metadata(
    splits: Splits, labels: NDArray[np.int64], shown: NDArray[np.int64]
) -> tuple[list[str], list[list[str]]]:
    """Return the titles and the rows of the projector's table, in which tabs part columns.

    Args:
        splits: Of the training images.
        labels: (N,) clusters, -1 for outliers.
        shown: Positions of the images of the table.
    """
    records = splits.train.select(shown)
    columns = {
        "file": [path.name for path in records.paths],
        "cluster": [str(labels[n]) for n in shown],
    }
    for name, names, numbers in (
        ("identity", splits.identity_names, records.identities),
        ("camera", splits.camera_names, records.cameras),
    ):
        if (numbers != UNKNOWN).any():
            columns[name] = [
                "unknown" if number == UNKNOWN else named(int(number), names) for number in numbers
            ]
    rows = [[" ".join(cell.split()) for cell in row] for row in zip(*columns.values(), strict=True)]
    return list(columns), rows


def squares(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Return images (n, height, width, 3) as (n, 3, side, side) from 0 to 1, with black margins.

    The projector shows the images of a sprite as squares.
    """
    count, height, width, _ = pixels.shape
    side = max(height, width)
    padded = np.zeros((count, side, side, 3), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    padded[:, top : top + height, left : left + width] = pixels
    return torch.from_numpy(padded).permute(0, 3, 1, 2) / 255
