"""``task=train``: training without labels, from a dataset to results.json."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from dccc_lightning.clustering.setting_alarms import setting_alarms
from dccc_lightning.common import ranges
from dccc_lightning.common.console import CONSOLE, print_once
from dccc_lightning.common.faults import explain_failures
from dccc_lightning.common.files import write_json
from dccc_lightning.common.garbage import lasting_imports
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.config.preflight import build_tested, check_training
from dccc_lightning.config.preset_diff import is_published
from dccc_lightning.config.processes import cleanup, less_memory
from dccc_lightning.config.trainer_checks import check_processes
from dccc_lightning.data.datasets.small_cameras import warn_of_small_cameras
from dccc_lightning.data.records import ReIDDataset, Splits
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.protocols import Protocol, protocol_of
from dccc_lightning.metrics.queries import check_queries, count_queries, seen_by_one_camera
from dccc_lightning.reports import metrics_table
from dccc_lightning.reports.label_free import label_free_table, summarize_label_free
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.reports.results import SCORE_NAMES, SCORES, cell, noted, scale, summarize_run

log = logging.getLogger(__name__)


def train(settings: Settings, output: Path) -> dict[str, Any]:
    """Train without labels, evaluate, and write the results.

    Args:
        settings: Composed configuration.
        output: Folder to write metrics.csv, timings.csv, results.json, clusters.csv,
            clusters.parquet, curves.png, report.html, panels/ and checkpoints/ to.

    Returns:
        The content of results.json.

    Raises:
        UserError: A setting, the dataset or the weights are invalid.
    """
    start = time.perf_counter()
    check_training(settings)
    dataset = build_tested(settings)
    splits = dataset.splits()
    protocol = _check_splits(splits, settings)
    check_processes(settings)
    chosen = settings
    if not splits.labelled:
        settings = _without_evaluation(settings)

    with lasting_imports():
        import pytorch_lightning as pl

        from dccc_lightning.config.build import build_datamodule, build_module, build_trainer
        from dccc_lightning.tasks.run_report import write_run_report
        from dccc_lightning.training.callbacks.recluster import Recluster
        from dccc_lightning.training.callbacks.running_page import follow
        from dccc_lightning.training.checkpointing import checkpoint_of

    datamodule = build_datamodule(settings, dataset)
    trainer = build_trainer(settings, str(output))
    if not any(isinstance(callback, Recluster) for callback in vars(trainer)["callbacks"]):
        raise UserError("callbacks.recluster: is needed in training, to make pseudo labels")
    pl.seed_everything(settings["seed"], workers=True, verbose=False)
    module = build_module(settings)
    datamodule.interpolation = module.student.layout.interpolation
    if trainer.is_global_zero and settings["notice"]:
        print_once(f"note: {settings['notice']}", style="dim")
    checkpoint = None
    if settings["resume"] is not None:
        checkpoint = checkpoint_of(Path(settings["output"]), settings["ckpt_path"])
        _check_epochs(metrics_table.read_rows(output / "metrics.csv"), settings["epochs"])
    elif settings["ckpt_path"] is not None:
        log.warning("ckpt_path=last: no run in %s yet, so a new one starts", settings["output"])
    for logger in trainer.loggers:
        logger.log_hyperparams({**settings, "protocol": protocol.name})

    def results_so_far() -> dict[str, Any]:
        rows = metrics_table.read_rows(output / "metrics.csv")
        found = summarize_run(
            rows, settings["seed"], time.perf_counter() - start,
            _published(chosen, datamodule.dataset, splits), settings["evaluate"]["camera_center"],
            protocol.name,
        )  # fmt: skip
        if splits.labelled:
            return found
        return found | summarize_label_free(rows, module.teacher is not None)

    follow(trainer, lambda done: write_run_report(chosen, output, results_so_far(), done))
    with cleanup(trainer), explain_failures(output, less_memory(settings, trainer.world_size)):
        if checkpoint is None and splits.labelled:
            trainer.validate(module, datamodule=datamodule, verbose=False)
        trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    results = results_so_far()
    if splits.labelled:
        results |= count_queries(datamodule.splits, protocol)  # without unreadable images
    if trainer.is_global_zero:
        write_json(output / "results.json", results)
        _draw(chosen, output, results)
        CONSOLE.print(_table(results, chosen) if splits.labelled else label_free_table(results))
    return results


def _draw(settings: Settings, output: Path, results: Mapping[str, Any]) -> None:
    """Write curves.png and report.html."""
    from dccc_lightning.reports.figures.training_curves import plot_curves
    from dccc_lightning.tasks.run_report import write_run_report

    title = noted(settings["dataset"]["name"], results.get("note"))
    with warn_on_failure("curves.png"):
        rows = metrics_table.read_rows(output / "metrics.csv")
        plot_curves(rows, output / "curves.png", title=title)
    with warn_on_failure("report.html"):
        write_run_report(settings, output, results)


def _published(
    settings: Settings, dataset: ReIDDataset, splits: Splits
) -> Mapping[str, float] | None:
    """Return the published scores if the run has the published dataset and settings, else None."""
    facts = getattr(dataset, "facts", None)
    if protocol_of(settings["evaluate"]["protocol"], splits).name == splits.protocol:
        settings = {**settings, "evaluate": {**settings["evaluate"], "protocol": "auto"}}
    if facts is None or not facts.has_official_sizes(splits) or not is_published(settings):
        return None
    row: Mapping[str, float] | None = settings["published"]
    return row


def _table(results: dict[str, Any], settings: Settings) -> Table:
    """Return the final table, with another experiment if no setting of the dataset was changed."""
    return results_table(results, _beside(settings))


def _beside(settings: Settings) -> Mapping[str, Any] | None:
    """Return the scores of another experiment to show, if the settings are the dataset's alone."""
    row: Mapping[str, Any] | None = settings["beside"]
    return row if row and is_published(settings) else None


def _check_epochs(rows: list[metrics_table.Row], epochs: int) -> None:
    """Raise an error if more epochs are completed than requested."""
    done = int(rows[-1]["epoch"]) + 1 if rows else 0
    if epochs < done:
        raise UserError(f"epochs={epochs}: {done} are completed; give as many or more")


def _without_evaluation(settings: Settings) -> Settings:
    """Return the settings for images without identities, with a label-free rule for ``best``."""
    callbacks = dict(settings["callbacks"])
    if callbacks.get("best"):
        rule = {"monitor": "cluster/overall_silhouette", "save_on_train_epoch_end": True}
        callbacks["best"] = callbacks["best"] | rule
    trainer = settings["trainer"] | {"limit_val_batches": 0}
    return dict(settings) | {"callbacks": callbacks, "trainer": trainer}


def _check_splits(splits: Splits, settings: Settings) -> Protocol:
    """Return the evaluation protocol; raise an error if the dataset does not match the settings."""
    if not len(splits.train):
        raise UserError(
            f"{splits.name}: no training images, only a test; use task=evaluate, or another dataset"
        )
    every = splits.train.joined(splits.query, splits.gallery)
    warn_of_small_cameras(splits.name, every.cameras)
    protocol = protocol_of(settings["evaluate"]["protocol"], splits)
    if splits.labelled:
        check_queries(splits, protocol)
    elif reason := seen_by_one_camera(splits):
        log.warning("%s: no evaluation; the best epoch is chosen by a label-free rule", reason)
    images, clustering = len(splits.train), settings["clustering"]
    checked(
        "clustering",
        lambda: ranges.images_of_neighborhoods(images, clustering),
        {"clustering": clustering},
    )
    for alarm in setting_alarms(splits.train, clustering):
        log.warning("%s", alarm)
    return protocol


def results_table(results: dict[str, Any], beside: Mapping[str, Any] | None = None) -> Table:
    """Return a table of a run's scores for the terminal.

    Args:
        results: Content of results.json.
        beside: Scores to show in the last row, and the ``experiment`` that gave them.
    """
    table = Table(title=scale(results, "per cent"), title_justify="left")
    table.add_column("")
    for score in SCORES:
        table.add_column(SCORE_NAMES[score], justify="right")
    rows = {
        "before training": results["initial"],
        "student, last epoch": results["student"],
        "teacher, last epoch": results["teacher"],
        "best on the test split": results["best"],
        "published for DCCC": results.get("published"),
        "difference": results.get("difference"),
        f"experiment={(beside or {}).get('experiment')}": beside,
    }
    for name, scores in rows.items():
        if scores is not None:
            table.add_row(name, *(cell(scores, score) for score in SCORES))
    return table
