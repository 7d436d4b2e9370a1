from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.common.files import write_atomically
from dccc_lightning.errors import UnwritableFileError
from dccc_lightning.reports.metrics_table import add_row, read_rows, write_rows
from dccc_lightning.training.callbacks.epoch_row import EpochRow
from dccc_lightning.training.callbacks.evaluation_interval import EvaluationEvery
from dccc_lightning.training.callbacks.metrics_csv import MetricsTable
from dccc_lightning.training.callbacks.recluster import Recluster


def test_epoch_and_step_come_first_then_names_in_order(tmp_path):
    path = tmp_path / "metrics.csv"
    add_row(path, {"val/mAP": 0.5, "step": 0, "epoch": -1, "cluster/eps": 0.7})
    assert path.read_text() == "epoch,step,cluster/eps,val/mAP\n-1,0,0.7,0.5\n"


def test_rows_are_appended_and_cells_without_a_value_are_empty(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [
        {"epoch": -1, "step": 0, "val/mAP": 0.25},
        {"epoch": 0, "step": 10, "loss": 1.5},
        {"epoch": 1, "step": 20, "loss": 1.25, "val/mAP": 0.5},
    ]
    for row in rows:
        add_row(path, row)
    assert path.read_text().splitlines() == [
        "epoch,step,loss,val/mAP",
        "-1,0,,0.25",
        "0,10,1.5,",
        "1,20,1.25,0.5",
    ]
    assert read_rows(path) == rows


@pytest.mark.parametrize("resumed_at", [-1, 0, 2, 3])
def test_a_resumed_run_cuts_the_rows_back(tmp_path, resumed_at):
    path = tmp_path / "metrics.csv"
    for epoch in range(-1, 4):
        add_row(path, {"epoch": epoch, "step": epoch, "loss": 1.0})
    add_row(path, {"epoch": resumed_at, "step": 7, "loss": 2.0})
    rows = read_rows(path)
    assert [row["epoch"] for row in rows] == list(range(-1, resumed_at + 1))
    assert rows[-1] == {"epoch": resumed_at, "step": 7, "loss": 2.0}


def test_without_a_file_there_are_no_rows(tmp_path):
    assert read_rows(tmp_path / "metrics.csv") == []


NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), NUMBERS), max_size=4))
def test_numbers_are_read_back_exactly(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    rows = [{"epoch": number, "step": 0} | row for number, row in enumerate(rows)]
    write_rows(path, rows)
    back = read_rows(path)
    assert back == rows
    kinds = [[type(row[name]) for name in sorted(row)] for row in rows]
    assert [[type(row[name]) for name in sorted(row)] for row in back] == kinds


def test_nan_survives(tmp_path):
    path = tmp_path / "metrics.csv"
    add_row(path, {"epoch": 0, "step": 1, "cluster/ari": float("nan")})
    assert str(read_rows(path)[0]["cluster/ari"]) == "nan"


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a" / "b" / "metrics.csv"
    for epoch in range(3):
        add_row(path, {"epoch": epoch, "step": epoch})
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_failed_write_leaves_the_old_table_and_no_temporary(tmp_path, monkeypatch, step):
    path = tmp_path / "metrics.csv"
    add_row(path, {"epoch": 0, "step": 1})
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(step, fail)
    with pytest.raises(UnwritableFileError, match="no space"):
        add_row(path, {"epoch": 1, "step": 2})
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"long old content")
    inode = path.stat().st_ino
    held = path.open("rb")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert held.read() == b"long old content"  # a reader that had it open sees no mixture
    assert path.stat().st_ino != inode
    held.close()


class Network(pl.LightningModule):
    """Logs figures that name their epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.evaluations = 0

    def training_step(self, batch, batch_idx):
        self.log("train/loss_step", torch.tensor(9.0))
        return self.weight.sum()

    def on_train_epoch_end(self):
        self.log("train/loss", torch.tensor(1.0 + self.current_epoch))

    def validation_step(self, batch, batch_idx):
        pass

    def on_validation_epoch_end(self):
        self.evaluations += 1
        for name in ("val/mAP", "val_teacher/mAP", "val_best/mAP"):
            self.log(name, torch.tensor(float(self.evaluations)))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Rows(EpochRow):
    def __init__(self):
        self.rows = []

    def on_epoch_row(self, trainer, row):
        self.rows.append(row)


def loader():
    return DataLoader(torch.zeros(3, 1))


def test_a_row_holds_the_figures_of_its_own_epoch_alone(tmp_path):
    rows, network = Rows(), Network()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=5, num_sanity_val_steps=0, logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        callbacks=[rows, MetricsTable(tmp_path), EvaluationEvery(2)], enable_checkpointing=True,
    )  # fmt: skip
    trainer.validate(network, loader(), verbose=False)
    trainer.fit(network, loader(), loader())

    def scores(value):
        return {"val/mAP": value, "val_teacher/mAP": value, "val_best/mAP": value}

    assert rows.rows == [
        {"epoch": -1, "step": 0} | scores(1.0),
        {"epoch": 0, "step": 3, "train/loss": 1.0},
        {"epoch": 1, "step": 6, "train/loss": 2.0} | scores(2.0),
        {"epoch": 2, "step": 9, "train/loss": 3.0},
        {"epoch": 3, "step": 12, "train/loss": 4.0} | scores(3.0),
        {"epoch": 4, "step": 15, "train/loss": 5.0} | scores(4.0),  # the last, whatever its number
    ]
    assert read_rows(tmp_path / "metrics.csv") == rows.rows


def test_a_row_lacks_what_this_clustering_did_not_find():
    """Lightning remembers figures of earlier epochs, and a resumed run has none to remember."""
    rows, recluster = Rows(), Recluster(FixedSchedule(0.6), PseudoLabeler())
    recluster.summary = {"cluster/eps": 0.6}
    remembered = {"cluster/eps": 0.6, "cluster/ari": 0.4, "train/loss": 1.0}
    trainer = SimpleNamespace(
        callbacks=[rows, recluster], callback_metrics=remembered, global_step=3, current_epoch=1
    )
    rows.on_train_epoch_end(trainer, None)
    assert rows.rows == [{"epoch": 1, "step": 3, "cluster/eps": 0.6, "train/loss": 1.0}]


def test_only_the_first_process_writes(tmp_path):
    class Trainer:
        is_global_zero = False

    MetricsTable(tmp_path).on_epoch_row(Trainer(), {"epoch": 0, "step": 1})
    assert not (tmp_path / "metrics.csv").exists()
