"""Compositions are kept where their files cannot change, and files are parsed once."""

from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from conftest import Command
from dccc_lightning.cli import conf_dir
from dccc_lightning.config.compositions import ParsedFiles, composed


def test_a_file_is_parsed_again_only_after_it_was_changed(tmp_path, monkeypatch):
    parsed, load = [], OmegaConf.load
    monkeypatch.setattr(OmegaConf, "load", lambda file: parsed.append(file) or load(file))
    source, file = ParsedFiles("mine", f"file://{tmp_path}"), tmp_path / "a.yaml"
    file.write_text("# @package _global_\nx: 1\n")
    first = source.load_config("a")
    first.config.x = 5  # a caller may change what it gets
    again = source.load_config("a")
    assert (again.config, again.header) == ({"x": 1}, {"package": "_global_"})
    assert len(parsed) == 1
    file.write_text("x: 22\n")
    assert source.load_config("a").config == {"x": 22}
    assert len(parsed) == 2


def test_a_composition_is_kept_unless_files_of_ones_own_take_part(tmp_path):
    option = tmp_path / "scheduler" / "mine.yaml"
    option.parent.mkdir()
    own = [f"hydra.searchpath=['file://{tmp_path}']", "scheduler=mine"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        assert composed(["epochs=3"]) is composed(["epochs=3"])
        assert composed(["epochs=4"]).epochs == 4
        for start in (0.5, 0.55):
            option.write_text(f"start: {start}\n")
            assert composed(own).scheduler.start == start


def test_the_settings_of_a_resumed_run_do_not_stay_in_the_store(
    command: Command, monkeypatch
) -> None:
    def train(settings, output):
        (output / "metrics.csv").write_text("epoch\n0\n")
        return {}

    monkeypatch.setattr("dccc_lightning.tasks.train.train", train)
    assert command("trainer=cpu", "output=run").code == 0
    before = set(ConfigStore.instance().repo)
    assert command("resume=run").code == 0
    assert set(ConfigStore.instance().repo) == before
