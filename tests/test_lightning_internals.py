"""Lightning's private parts: used in one file, and there in the installed version."""

import inspect
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import pytorch_lightning as pl
from packaging.requirements import Requirement
from pytorch_lightning.loops import training_epoch_loop
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies.launchers import subprocess_script
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

import dccc_lightning
from dccc_lightning.training import lightning_internals

PACKAGE = Path(dccc_lightning.__file__).parent
PROJECT = Path(__file__).parents[1]
PRIVATE = re.compile(
    r"trainer\._|_loop\._|_connector\b|Script\w*Launcher"
    r"|^\s*from (?:pytorch_lightning|lightning_fabric).* import _",
    re.MULTILINE,
)


@pytest.fixture
def trainer(tmp_path):
    return pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip


def test_one_file_uses_them():
    files = {p.name for p in PACKAGE.rglob("*.py") if PRIVATE.search(p.read_text())}
    assert files == {"lightning_internals.py"}


def test_the_installed_version_is_one_that_is_admitted():
    text = (PROJECT / "pyproject.toml").read_text()
    wanted = Requirement(re.search(r'"(pytorch-lightning>[^"]*)"', text)[1])
    assert wanted.specifier.contains(version("pytorch-lightning"))
    assert not wanted.specifier.contains("2.7.0")


def test_the_choice_of_samplers_is_where_it_was(trainer):
    assert trainer._accelerator_connector.use_distributed_sampler is True
    assert lightning_internals.shuffles_batches(trainer)
    trainer._accelerator_connector.use_distributed_sampler = False
    assert not lightning_internals.shuffles_batches(trainer)


def test_signals_are_where_they_were(trainer):
    """Lightning calls both by these names, so that what is put in their place is called."""
    assert callable(_SignalConnector.register_signal_handlers)
    assert "_signal_connector.register_signal_handlers()" in inspect.getsource(pl.Trainer)
    loop = training_epoch_loop._TrainingEpochLoop
    assert callable(loop._broadcast_sigterm_tensor)
    assert "self._broadcast_sigterm_tensor()" in inspect.getsource(loop)
    lightning_internals.leave_signals_alone(trainer)
    assert "_broadcast_sigterm_tensor" in vars(trainer.fit_loop.epoch_loop)
    assert trainer._signal_connector.register_signal_handlers() is None


def test_the_launcher_of_processes_is_where_it_was(trainer):
    assert lightning_internals.process_launcher(trainer) is None
    launcher = subprocess_script._SubprocessScriptLauncher(LightningEnvironment(), 2, 1)
    assert launcher.procs == []
    assert list(inspect.signature(launcher.kill).parameters) == ["signum"]
    trainer.strategy._launcher = launcher
    assert lightning_internals.process_launcher(trainer) is launcher
