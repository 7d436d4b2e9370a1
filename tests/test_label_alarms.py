"""Warnings of bad pseudo labels and of schedules that stay at their start."""

import pytest

from dccc_lightning.clustering.dcps import (
    CosineSchedule,
    ExponentialSchedule,
    FixedSchedule,
    LinearSchedule,
)
from dccc_lightning.clustering.label_alarms import label_alarms, schedule_alarms


def scores(largest: float, mean: float, silhouette: float = 0.2) -> dict[str, float]:
    return {
        "cluster/largest": largest,
        "cluster/mean_size": mean,
        "cluster/overall_silhouette": silhouette,
        "cluster/eps": 0.7,
    }


@pytest.mark.parametrize(
    ("found", "images", "words"),
    [
        (scores(54, 20), 60, ["54 of 60 images are in one cluster", "scheduler.start"]),
        (scores(1557, 60), 2684, ["1557 of 2684"]),
        (scores(152, 14.3), 1519, []),  # the default run
        (scores(30, 29), 60, []),  # two clusters of one size
        (scores(10, 9, silhouette=0.04), 900, ["silhouette 0.04", "clustering.k1"]),
        (scores(0, 0, silhouette=-1.0), 90, ["silhouette -1.00"]),  # no cluster
    ],
)
def test_alarms_name_the_fault_and_the_setting(
    found: dict[str, float], images: int, words: list[str]
) -> None:
    alarms = label_alarms(found, images)
    assert bool(alarms) == bool(words)
    assert all(word in alarms[0] for word in words)


@pytest.mark.parametrize(
    ("schedule", "epochs", "warned"),
    [
        (ExponentialSchedule(0.7), 8, True),  # to 0.646, of 0.399
        (ExponentialSchedule(0.7), 70, False),
        (ExponentialSchedule(0.6), 16, False),  # the default run
        (ExponentialSchedule(0.7), 2, False),  # a trial
        (LinearSchedule(0.7, rate=0.001), 40, True),
        (FixedSchedule(0.7), 8, False),
        (CosineSchedule(0.7, epochs=8), 8, False),
    ],
)
def test_a_schedule_that_stays_at_its_start_is_named(
    schedule: FixedSchedule, epochs: int, warned: bool
) -> None:
    alarms = schedule_alarms(schedule, epochs)
    assert bool(alarms) == warned
    assert all(f"in {epochs} epochs" in alarm for alarm in alarms)
