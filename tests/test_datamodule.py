"""The loaders across epochs."""

import multiprocessing
from pathlib import Path

import pytest
import torch

from conftest import Command
from dccc_lightning.module import DCCCModule


@pytest.mark.slow
def test_workers_of_the_training_loader_live_as_long_as_the_run(
    command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, workers = DCCCModule.training_step, []

    def training_step(self: DCCCModule, batch, batch_idx: int) -> torch.Tensor:
        workers.append({child.pid for child in multiprocessing.active_children()})
        return original(self, batch, batch_idx)

    monkeypatch.setattr(DCCCModule, "training_step", training_step)
    arguments = [*tiny, "epochs=3", "dataset.cache=none"]
    assert command(*arguments, "loader.workers=2", "output=two").code == 0
    assert len(workers) == 6
    assert len(set.intersection(*workers)) == 2
    assert command(*arguments, "loader.workers=0", "output=none").code == 0
    two, none = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("two", "none"))
    assert two == none


def test_compiled_networks_train_the_same_model(
    command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__)
    )
    assert command(*tiny, "compile=true", "output=run").code == 0
    assert compiled == ["Embedder", "MeanTeacher"]
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert not any("_orig_mod" in name for name in state["state_dict"])
