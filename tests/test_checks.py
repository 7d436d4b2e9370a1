import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.common import checks
from dccc_lightning.data.datasets.declared_layout import DeclaredLayout
from dccc_lightning.data.datasets.folder import ImageFolder
from dccc_lightning.data.synthetic.dataset import SyntheticPedestrians

BOUNDS = st.floats(-10, 10)


@settings(max_examples=100, deadline=None)
@given(BOUNDS, BOUNDS, BOUNDS, st.booleans(), st.booleans())
def test_a_real_number_lies_within_its_bounds(value, low, high, open_low, open_high):
    inside = low <= value <= high
    inside = inside and not (open_low and value == low) and not (open_high and value == high)
    if inside:
        result = checks.real("eps", value, low, high, open_low=open_low, open_high=open_high)
        assert result == value
        return
    with pytest.raises(ValueError, match="eps must be in") as caught:
        checks.real("eps", value, low, high, open_low=open_low, open_high=open_high)
    message = str(caught.value)
    assert message.endswith(f"got {value!r}")
    assert f"in {'(' if open_low else '['}" in message
    assert (")" if open_high else "]") in message


@settings(max_examples=50, deadline=None)
@given(st.integers(-9, 9), st.none() | st.integers(-9, 9), st.none() | st.integers(-9, 9))
def test_an_integer_lies_within_its_bounds(value, low, high):
    if (low is None or value >= low) and (high is None or value <= high):
        assert checks.integer("k1", value, low, high) == value
        return
    with pytest.raises(ValueError, match=rf"k1 must be at (least|most) -?\d+, got {value}$"):
        checks.integer("k1", value, low, high)


def test_numbers_of_numpy_become_pythons():
    assert type(checks.real("eps", np.float32(0.5))) is float
    assert type(checks.real("eps", 1)) is float
    assert type(checks.integer("k1", np.int64(3))) is int


@pytest.mark.parametrize("value", [True, "0.5", None, [0.5], 1j])
def test_what_is_no_number_is_refused_with_its_name(value):
    with pytest.raises(TypeError, match="eps must be a number, got"):
        checks.real("eps", value)
    with pytest.raises(TypeError, match="k1 must be an integer, got"):
        checks.integer("k1", value)
    with pytest.raises(TypeError, match=r"k1 must be an integer, got 2\.0"):
        checks.integer("k1", 2.0)


def test_nan_is_in_no_range():
    with pytest.raises(ValueError, match="got nan"):
        checks.real("eps", math.nan)
    assert checks.real("eps", math.inf) == math.inf


@pytest.mark.parametrize("value", ["max", "", None, 3, ["avg"]])
def test_a_choice_is_one_of_its_options(value):
    assert checks.choice("pooling", "gem", ["avg", "gem"]) == "gem"
    with pytest.raises(ValueError, match="pooling must be one of avg, gem, got") as caught:
        checks.choice("pooling", value, ["avg", "gem"])
    assert str(caught.value).endswith(repr(value))


def test_a_path_may_look_like_a_number(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert [str(checks.path("root", value)) for value in (2024, "a", "~/b")] == [
        "2024", "a", "/home/me/b"
    ]  # fmt: skip
    for wrong in (True, None, ["a"]):
        with pytest.raises(TypeError, match="root must be a path, got"):
            checks.path("root", wrong)


@pytest.mark.parametrize(
    "kind",
    [ImageFolder, SyntheticPedestrians, partial(DeclaredLayout, name="a", splits={"all": "b"})],
)  # fmt: skip
def test_the_folder_of_a_dataset_may_be_called_like_a_number(kind):
    assert str(kind(root=2024).root) == "2024"
