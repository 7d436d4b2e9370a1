import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.neighbors.embeddings import unit_rows


@given(
    seed=st.integers(0, 10_000),
    dim=st.integers(1, 300),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
@settings(max_examples=40, deadline=None)
def test_rows_of_length_one_that_stay_as_they_are(seed, dim, dtype):
    rows = np.random.default_rng(seed).normal(size=(20, dim)).astype(dtype)
    rows[3] = 0
    unit = unit_rows(rows)
    expected = rows.astype(np.float64)
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-30)
    np.testing.assert_allclose(unit, expected, rtol=3e-7)
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(unit_rows(unit), unit)  # in every bit: ties stay ties


def test_multiples_of_a_row_become_equal():
    row = np.random.default_rng(0).normal(size=64)
    unit = unit_rows(np.stack([row, 3 * row, row * 2.0**-40, -row]))
    np.testing.assert_allclose(unit[1:], [unit[0], unit[0], -unit[0]], rtol=2e-7)


def test_the_caller_keeps_the_features():
    rows = torch.eye(3)
    unit = unit_rows(rows)
    unit[:] = 5
    np.testing.assert_array_equal(rows, np.eye(3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_names_the_rows_that_are_not_finite(bad):
    rows = np.ones((100_000, 40))  # several blocks
    rows[[7, 60_000, 99_999], 2] = bad
    with pytest.raises(ValueError, match="got NaN or infinity in 3 rows: 7, 60000, 99999"):
        unit_rows(rows)
