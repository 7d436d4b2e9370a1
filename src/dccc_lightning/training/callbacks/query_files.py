"""Table of the queries of the last evaluation: average precision and first hits."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from dccc_lightning.common import callback_ranges
from dccc_lightning.data.records import Splits
from dccc_lightning.metrics.protocol_arrangement import split_labels
from dccc_lightning.metrics.query_rankings import query_rankings
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.reports.query_table import query_table, write_query_table
from dccc_lightning.training.retrieval_module import EvaluatedModule

NETWORKS = {"val_teacher": "teacher", "val": "student"}
"""Networks whose rankings are shown, by the prefix of their scores, in order of preference."""


class QueryFiles(pl.Callback):
    """Callback that writes queries.parquet after the last epoch's evaluation, on rank 0.

    The file has the ranking of every query with a match by the teacher, or without one by the
    student; see ``reports.query_table`` for the columns. There is none under a protocol whose
    scores are not of single images.

    Args:
        folder: Run folder.
        hits: Gallery images to keep for each query.
    """

    def __init__(self, folder: str | Path, hits: int = 10) -> None:
        callback_ranges.query_files(folder, hits)
        self.folder = Path(folder)
        self.hits = int(hits)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rank the gallery again with the embeddings of the evaluation, for each query."""
        is_first = trainer.state.fn == TrainerFn.VALIDATING  # before training
        if is_first or trainer.current_epoch + 1 != trainer.max_epochs:
            return
        assert isinstance(pl_module, EvaluatedModule)
        splits: Splits = vars(trainer)["datamodule"].splits
        prefix = next(name for name in NETWORKS if name in pl_module.retrieval)
        rows = evaluated_rows(pl_module.retrieval[prefix], splits)
        if rows is None or not trainer.is_global_zero:
            return
        rankings = query_rankings(
            pl_module.protocol,
            torch.cat(rows),
            split_labels(splits.query, splits.gallery),
            len(splits.query),
            self.hits,
            pl_module.camera_center,
        )
        if rankings is not None:
            write_query_table(self.folder, query_table(splits, rankings, NETWORKS[prefix]))


def evaluated_rows(metric: ReIDRetrieval, splits: Splits) -> tuple[Tensor, Tensor] | None:
    """Return the embeddings of query (Q, D) and gallery (G, D), gathered from all processes.

    None if the evaluation did not cover the whole split.
    """
    query, gallery = metric.gathered()
    is_whole = len(query) == len(splits.query) and len(gallery) == len(splits.gallery)
    return (query, gallery) if is_whole else None
