import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.clustering.dcps import (
    CosineSchedule,
    ExponentialSchedule,
    FixedSchedule,
    LinearSchedule,
    LogarithmicSchedule,
    StepSchedule,
)

GOLDEN = Path(__file__).parent / "golden" / "dccc_reference.npz"
KINDS = {
    "fix": lambda start, epochs: FixedSchedule(start),
    "step": lambda start, epochs: StepSchedule(start),
    "linear": lambda start, epochs: LinearSchedule(start),
    "expo": lambda start, epochs: ExponentialSchedule(start),
    "log": LogarithmicSchedule,
}
ALL = [
    FixedSchedule(0.6),
    StepSchedule(0.7, 0.45, 0.01, 3),
    LinearSchedule(0.8, 0.5, 0.02),
    ExponentialSchedule(0.7, 0.399, 0.95),
    LogarithmicSchedule(0.7, 40),
    CosineSchedule(0.7, 0.4, 40),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("start", "epochs"), [(0.7, 70), (0.8, 80), (0.6, 50)])
def test_equals_the_recorded_values(kind, start, epochs):
    with np.load(GOLDEN, allow_pickle=False) as golden:
        expected = golden[f"dcps/{kind}/start={start}/epochs={epochs}"]
    schedule = KINDS[kind](start, epochs)
    np.testing.assert_allclose([schedule(t) for t in range(epochs)], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["step", "linear", "expo"])
@given(
    start=st.floats(0.5, 0.9),
    floor=st.floats(0.3, 0.5),
    size=st.floats(0.001, 0.05),
    every=st.integers(1, 9),
)
@settings(max_examples=25, deadline=None)
def test_equals_a_loop_that_tests_the_guard_before_the_decrement(kind, start, floor, size, every):
    schedule = {
        "step": lambda: StepSchedule(start, floor, size / every, every),
        "linear": lambda: LinearSchedule(start, floor, size),
        "expo": lambda: ExponentialSchedule(start, floor, 1 - size),
    }[kind]()
    eps = start
    for epoch in range(100):
        if eps > floor and (kind != "step" or epoch % every == 0):
            change = size / every * every if kind == "step" else size
            eps = eps * (1 - size) if kind == "expo" else eps - change
        assert schedule(epoch) == eps


def test_cosine_is_half_a_period_and_then_rests():
    schedule = CosineSchedule(0.8, 0.4, 10)
    assert [schedule(t) for t in range(11)] == pytest.approx(
        [0.4 + 0.2 * (1 + math.cos(math.pi * t / 10)) for t in range(11)]
    )
    assert schedule(25) == schedule(10) == pytest.approx(0.4)


def test_logarithm_rests_after_its_last_epoch():
    schedule = LogarithmicSchedule(0.7, 10)
    assert schedule(10) == schedule(1000) == pytest.approx(0.35)


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
def test_bounds_are_the_extremes_of_a_long_life(schedule):
    life = [schedule(t) for t in range(500)]
    assert schedule.bounds == (min(life), max(life))
    assert all(type(eps) is float for eps in life)


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
def test_is_a_pure_value(schedule):
    later_first = [schedule(t) for t in (50, 3, 50)]
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    assert [again(t) for t in (50, 3, 50)] == later_first
    assert later_first[0] == later_first[2]


def test_a_start_at_the_floor_never_falls():
    assert LinearSchedule(0.399, 0.399)(60) == 0.399


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedSchedule(1.0), "start must be in"),
        (lambda: FixedSchedule(0), "start must be in"),
        (lambda: StepSchedule(rate=0.0), "rate must be in"),
        (lambda: StepSchedule(every=0), "every must be at least 1"),
        (lambda: StepSchedule(rate=0.2), "rate must keep eps above 0"),
        (lambda: LinearSchedule(rate=-0.1), "rate must be in"),
        (lambda: LinearSchedule(rate=0.7), "rate must keep eps above 0"),
        (lambda: LinearSchedule(0.3), "floor must be at most start"),
        (lambda: ExponentialSchedule(rate=1.0), "rate must be in"),
        (lambda: ExponentialSchedule(floor=0.0), "floor must be in"),
        (lambda: LogarithmicSchedule(epochs=0), "epochs must be at least 1"),
        (lambda: CosineSchedule(0.5, 0.6), "floor must be at most start"),
        (lambda: ExponentialSchedule(start=math.nan), "start must be in"),
        (lambda: CosineSchedule()(-1), "epoch must be at least 0"),
    ],
)
def test_refuses_what_makes_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_refuses_a_start_that_is_no_number():
    with pytest.raises(TypeError, match="start must be a number"):
        ExponentialSchedule(start="0.7")
