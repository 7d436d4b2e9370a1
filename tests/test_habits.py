"""Habits of Hydra, Lightning and timm are answered by a command that works here."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from conftest import Command
from dccc_lightning.cli import conf_dir, familiar_commands

HABITS = {
    "+experiment=dccc": "experiment=dccc",
    "++experiment=dccc": "experiment=dccc",
    "trainer.max_epochs=3": "epochs=3",
    "+trainer.max_epochs=3": "epochs=3",
    "max_epochs=3": "epochs=3",
    "trainer.gpus=2": "trainer=gpu trainer.devices=2",
    "gpus=2": "trainer=gpu trainer.devices=2",
    "--gpus 2": "trainer=gpu trainer.devices=2",
    "trainer.accelerator=gpu devices=2": "trainer.devices=2",
    "lr=0.1": "optimizer.lr=0.1",
    "--lr=0.1": "optimizer.lr=0.1",
    "batch_size=64": "batch.clusters=4 batch.instances=16",
    "epochs: 3": "epochs=3",
    "epochs:3": "epochs=3",
    "epochs 3": "epochs=3",
    "--epochs 3": "epochs=3",
    "tau_w=0.6": "memory.tau_w=0.6",
    "momentum=0.2": "memory.momentum=0.2",
    "hydra.sweeper=optuna": "hydra/sweeper=optuna",
    "hydra.launcher=local": "hydra/launcher=local",
    "data=msmt17": "dataset=msmt17",
    "dataset.path=/data": "dataset.root=/data",
    "num_workers=4": "loader.workers=4",
    "precision=16": "trainer.precision=16-mixed",
    "pretrained=true": "model.weights=imagenet",
    "train.epochs=3": "epochs=3",
    "--config-name dccc": "experiment=dccc",
    "--config-name=experiment/dccc_plus": "experiment=dccc_plus",
    "-cn dccc": "experiment=dccc",
    "fit": "task=train",
    "epochs=3 verify": "task=verify",
    "train.py epochs=3": "omit the script",
    "experiment=cluster-contrast": "did you mean experiment=cluster_contrast?",
    "dataset=Market1501": "did you mean dataset=market1501?",
    "model=resnet-50": "did you mean model=resnet50?",
    "-b 64": "batch.clusters=4 batch.instances=16",
    "-d market1501": "dataset=market1501",
    "-a resnet50 -j 4": "model=resnet50",
    "--iters 200": "iterations=200",
    "--eval-step=5": "eval_every=5",
    "--momentum 0.1": "memory.momentum=0.1",
    "--smoothing 0.1": "did you mean loss.smoothing=0.1 or recipe.smoothing=0.1?",
    "--opts x": "--cfg job shows all settings",
    "--config configs/dccc.yml": "=dccc",
    "--cfg epochs=3": "--cfg job",
    "--info settings": "--info settings: choose what to show: --info all, config",
    "--config-di conf": "write the whole option: --config-dir",
    "trainer.limit_train_batches=5": "iterations=5",
    "+foo=1": "+foo=1: no such setting",
    "++batch.foo=1": "++batch.foo=1: no such setting",
}


@pytest.mark.parametrize("habit", HABITS)
def test_a_habit_gets_a_command(habit: str, command: Command, tmp_path: Path) -> None:
    outcome = command(*habit.split())
    assert outcome.code == 2, outcome
    assert outcome.err.count("\n") == 1, outcome.err
    assert HABITS[habit] in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("habit", ["+foo=1", "+experiment=dccc", "trainer.gpus=2"])
def test_a_habit_is_refused_where_the_configuration_is_shown(habit: str, command: Command) -> None:
    outcome = command(habit, "--cfg", "job")
    assert (outcome.code, outcome.out) == (2, "")
    assert HABITS[habit] in outcome.err


@pytest.mark.slow
def test_every_command_that_is_advised_can_be_composed() -> None:
    values = {"dataset": "msmt17", "experiment": "dccc", "model": "resnet50", "task": "verify"}
    for name, command in familiar_commands._COMMANDS.items():
        assert familiar_commands.command_for(name, "VALUE") == command.format("VALUE")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for command in familiar_commands._TRANSLATIONS:  # several names have the same
            words = command.format("VALUE").split()
            compose(
                "train",
                [w.replace("VALUE", values.get(w.partition("=")[0], "1")) for w in words],
            )


@pytest.mark.parametrize("added", ["+trainer.enable_checkpointing=false", "+callbacks.mine=null",
                                   "+augmentation.erase_attempts=5"])  # fmt: skip
def test_what_the_configuration_takes_besides_is_not_refused(added: str, command: Command) -> None:
    outcome = command(added, "--cfg", "job")
    assert (outcome.code, outcome.err) == (0, "")


def test_names_of_a_configuration_of_ones_own_are_suggested(
    command: Command, tmp_path: Path
) -> None:
    own = tmp_path / "mine"
    (own / "experiment").mkdir(parents=True)
    (own / "experiment" / "warehouse.yaml").write_text(
        "# @package _global_\nwarehouse: {shelves: 3}\n"
    )
    (own / "extra").mkdir()
    (own / "extra" / "small.yaml").write_text("size: 1\n")
    flags = ("--config-dir", str(own))
    wrong = command(*flags, "experiment=warehous")
    assert "did you mean experiment=warehouse?" in wrong.err
    inner = command(*flags, "experiment=warehouse", "warehouse.shelfs=4")
    assert "did you mean warehouse.shelves=4?" in inner.err
    root = command(*flags, "--config-name", "warehouse")
    assert "experiment=warehouse" in root.err
    added = command(*flags, "+extra=small", "--cfg", "job")
    assert (added.code, added.err) == (0, "")
