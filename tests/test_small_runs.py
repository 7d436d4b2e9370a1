"""Settings for a few hundred images: warnings before the first epoch, and the time it will take."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dccc_lightning.clustering.setting_alarms import proposed_k1, setting_alarms
from dccc_lightning.common import ranges
from dccc_lightning.data.records import Records
from dccc_lightning.training.callbacks.epoch_line import EpochLine
from dccc_lightning.training.callbacks.time_estimate import embedding_seconds, step_seconds


def records(identities: list[int], cameras: list[int] | None = None) -> Records:
    """Return records of images that need not exist."""
    rows = zip(identities, cameras or [-1] * len(identities), strict=True)
    return Records.from_rows([(f"{n}.jpg", i, c) for n, (i, c) in enumerate(rows)])


@pytest.mark.parametrize(
    ("train", "settings", "words"),
    [
        (records([-1] * 60), {"k1": 30}, ["k1=30 is large for 60", "try clustering.k1=8"]),
        (records([-1] * 60), {"k1": 8}, []),
        (records([-1] * 226), {"k1": 30}, []),
        (records([-1] * 60), {"k1": 30, "camera": "ca_jaccard", "k1_intra": 5}, []),
        (
            records([0, 0, 1, 1, 2, 2, 3, 3, 3, 3]),
            {"algorithm": {"min_samples": 4}},
            ["min_samples=4", "3 of 4 identities", "min_samples=2"],
        ),
        (records([0] * 4 + [1] * 5 + [-1]), {"algorithm": {"min_samples": 4}}, []),
        (records([-1] * 9), {"algorithm": {"min_samples": 4}}, []),
        (records([0, 1] * 9), {"k1": None, "camera": "ca_jaccard", "algorithm": "mine"}, []),
        (records([-1] * 6, [0, 0, 1, 1, 2, 2]), {"camera": "whiten"}, ["3 of 3 cameras"]),
        (records([-1] * 6, [0, 0, 1, 1, 2, 2]), {"camera": "penalty"}, []),
        (records([-1] * 9, [0] * 5 + [1, 1, 2, 2]), {"camera": "center"}, []),
        (
            records([-1] * 8, [0] * 4 + [1] * 4),
            {"camera": "ca_jaccard", "k1_intra": 5},
            ["2 of 2 cameras", "lower clustering.k1_intra"],
        ),
    ],
)
def test_settings_that_do_not_fit_the_images_are_named(train, settings, words):
    alarms = setting_alarms(train, settings)
    assert bool(alarms) == bool(words)
    assert all(word in alarms[0] for word in words)


@pytest.mark.parametrize("images", [8, 60, 225, 1_000, 20_000])
def test_the_proposed_k1_raises_no_alarm_itself(images):
    assert setting_alarms(records([-1] * images), {"k1": proposed_k1(images)}) == []


def test_more_images_for_a_dense_point_than_there_are_is_an_error():
    with pytest.raises(ValueError, match=r"algorithm\.min_samples must be at most 9 with 9"):
        ranges.images_of_neighborhoods(9, {"k1": 4, "algorithm": {"min_samples": 10}})
    ranges.images_of_neighborhoods(9, {"k1": 4, "algorithm": {"min_samples": 9}})


def test_trials_of_the_time_change_nothing():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    images = torch.arange(4 * 3 * 8 * 8).view(4, 3, 8, 8) / 800
    assert step_seconds(network, images) > 0
    assert embedding_seconds(network, images) > 0
    assert network.training
    assert all(value.grad is None for value in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


def test_the_line_of_an_epoch_ends_with_the_time_left(capsys, monkeypatch):
    clock = iter([0.0, 10.0, 40.0, 70.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    line = EpochLine(remaining=True)
    trainer = SimpleNamespace(is_global_zero=True, max_epochs=4)
    for epoch in (-1, 0, 1):
        line.on_epoch_row(trainer, {"epoch": epoch, "step": 0})
    header, start, first, second = (text.split() for text in capsys.readouterr().out.splitlines())
    assert header[-2:] == ["time", "left"]
    assert start[-1] == "10.0s"
    assert first[-2:] == ["30.0s", "1:30"]
    assert second[-2:] == ["30.0s", "1:00"]


@pytest.mark.slow
def test_a_small_run_says_how_long_it_takes_before_it_starts(command, tiny):
    small = ("experiment=small", "model=resnet10", "model.weights=bundled", "model.width=0.5")
    outcome = command(*small, *tiny, "clustering.k1=40", "output=runs/small")
    assert outcome.code == 0, outcome.err
    before, _, after = outcome.out.partition(" 1/2 ")
    assert "2 epochs of 2 steps" in before
    assert "left" in before
    assert " 2/2 " in after
    assert "clustering.k1=40 is large for" in outcome.out + outcome.err
