"""``task=pretrain``: supervised training on identities, for initial weights."""

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common import callback_ranges
from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.faults import explain_failures
from dccc_lightning.common.files import write_atomically, write_json
from dccc_lightning.config.instantiate import Settings, checked, construct
from dccc_lightning.config.preflight import build_tested, check_training
from dccc_lightning.config.processes import cleanup, less_memory
from dccc_lightning.config.trainer_checks import check_processes
from dccc_lightning.data.records import UNKNOWN, Splits
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.protocols import protocol_of
from dccc_lightning.metrics.queries import check_queries, count_queries
from dccc_lightning.reports import metrics_table
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.reports.results import summarize_run
from dccc_lightning.tasks.train import results_table

if TYPE_CHECKING:
    from dccc_lightning.datamodule import ReIDDataModule
    from dccc_lightning.models.network import Embedder


def pretrain(settings: Settings, output: Path) -> dict[str, Any]:
    """Train an embedder with identity labels and write its weights.

    Args:
        settings: Composed configuration; ``pretrain`` has the settings of this task.
        output: Folder to write weights.pt, metrics.csv and results.json to.

    Returns:
        The content of results.json.

    Raises:
        UserError: A setting or the dataset is invalid, or the dataset has no identities or no query
            and gallery images.
    """
    if settings["resume"] is not None:
        raise UserError("resume: task=pretrain cannot be resumed; start a new run")
    start = time.perf_counter()
    check_training(settings)
    own = settings["pretrain"]
    checked(
        "pretrain", lambda: callback_ranges.supervised(own["label_smoothing"]), {"pretrain": own}
    )
    dataset = build_tested(settings)
    splits = dataset.splits()
    _identities(splits)
    protocol = protocol_of(settings["evaluate"]["protocol"], splits)
    check_queries(splits, protocol)
    check_processes(settings)

    import pytorch_lightning as pl

    from dccc_lightning.config.build import build_datamodule, build_student, build_trainer
    from dccc_lightning.tasks.run_report import write_run_report
    from dccc_lightning.training.callbacks.running_page import follow
    from dccc_lightning.training.supervised import SupervisedModule

    datamodule = build_datamodule(settings, dataset)
    pl.seed_everything(settings["seed"], workers=True, verbose=False)
    embedder = build_student(settings)
    datamodule.interpolation = embedder.layout.interpolation
    datamodule.setup()
    number, labels = _identities(datamodule.splits)
    datamodule.set_pseudo_labels(labels, 0)
    module = checked(
        "optimizer",
        lambda: SupervisedModule(
            embedder,
            number,
            construct("optimizer", settings["optimizer"]),
            own["label_smoothing"],
        ),
        {"pretrain": own},
    )
    trainer = build_trainer(settings, str(output))

    def results_so_far() -> dict[str, Any]:
        return summarize_run(
            metrics_table.read_rows(output / "metrics.csv"), settings["seed"],
            time.perf_counter() - start, camera_center=settings["evaluate"]["camera_center"],
            protocol=protocol.name,
        )  # fmt: skip

    follow(trainer, lambda done: write_run_report(settings, output, results_so_far(), done))
    with cleanup(trainer), explain_failures(output, less_memory(settings, trainer.world_size)):
        trainer.fit(module, datamodule=datamodule)
    results = results_so_far() | count_queries(datamodule.splits, protocol)
    if trainer.is_global_zero:
        content = _half_precision(embedder, datamodule)
        for path in (output / "weights.pt", own["copy_to"]):
            if path is not None:
                write_atomically(Path(path), content)
                CONSOLE.print(f"weights: {path} ({len(content) / 1e6:.1f} MB)")
        write_json(output / "results.json", results)
        with warn_on_failure("report.html"):
            write_run_report(settings, output, results)
        CONSOLE.print(results_table(results))
    return results


def _identities(splits: Splits) -> tuple[int, NDArray[np.int64]]:
    """Return the number of training identities and their labels from 0.

    Raises:
        UserError: The training images have no identities.
    """
    identities, labels = np.unique(splits.train.identities, return_inverse=True)
    if len(identities) < 2 or identities[0] == UNKNOWN:
        raise UserError(f"{splits.name}: no identities to pre-train with")
    return len(identities), labels


def _half_precision(embedder: "Embedder", datamodule: "ReIDDataModule") -> bytes:
    """Serialise the weights in half precision and running statistics in single precision."""
    import torch

    from dccc_lightning.training.checkpointing import describe_network

    state = {
        name: value.half() if value.is_floating_point() and "running" not in name else value
        for name, value in embedder.cpu().state_dict().items()
    }
    buffer = io.BytesIO()
    description = describe_network(embedder, datamodule)
    torch.save({"state_dict": state, "dccc_lightning": description}, buffer)
    return buffer.getvalue()
