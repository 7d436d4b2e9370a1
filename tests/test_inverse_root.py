"""Rows times the inverse root of a covariance, beside eigenvectors in float64."""

import numpy as np
import pytest

from dccc_lightning.neighbors.inverse_root import FARTHEST, inverse_sum, times_inverse_root


def slow_times(rows, covariance):
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    return rows.astype(np.float64) @ (vectors / np.sqrt(values)) @ vectors.T


def covariance_of(dim, farthest, seed=0):
    """Return a covariance whose largest eigenvalue is ``farthest`` times the least."""
    vectors = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]
    values = np.geomspace(1, farthest, dim)
    return ((vectors * values) @ vectors.T).astype(np.float32)


@pytest.mark.parametrize("farthest", [1, 2, 100, 1e4, FARTHEST])
def test_the_sum_of_inverses_is_the_inverse_root(farthest):
    shifts, weights = inverse_sum(0.3, 0.3 * farthest)
    points = np.geomspace(0.3, 0.3 * farthest, 500)
    found = (weights / (points[:, None] + shifts)).sum(axis=1)
    np.testing.assert_allclose(found, points**-0.5, rtol=1e-8)
    assert (shifts > 0).all()
    assert (weights > 0).all()


@pytest.mark.parametrize(("dim", "n"), [(2, 5), (3, 1), (40, 33), (200, 31), (257, 70)])
@pytest.mark.parametrize("farthest", [1.5, 200])
def test_agrees_with_eigenvectors(dim, n, farthest):
    rows = np.random.default_rng(1).standard_normal((n, dim)).astype(np.float32)
    covariance = covariance_of(dim, farthest)
    found = times_inverse_root(rows, covariance)
    expected = slow_times(rows, covariance)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert found.dtype == np.float32
    assert error < 1e-6 * farthest**0.5


def test_a_tridiagonal_covariance_needs_no_reflectors():
    covariance = np.diag(np.arange(1, 301)).astype(np.float32)
    rows = np.ones((4, 300), np.float32)
    np.testing.assert_allclose(
        times_inverse_root(rows, covariance), slow_times(rows, covariance), rtol=1e-6
    )


@pytest.mark.parametrize("n", [1, 7])
def test_the_input_stays(n):
    covariance = covariance_of(50, 10)
    rows = np.random.default_rng(0).standard_normal((n, 50)).astype(np.float32)
    kept = covariance.copy(), rows.copy()
    times_inverse_root(rows, covariance)
    np.testing.assert_array_equal(covariance, kept[0])
    np.testing.assert_array_equal(rows, kept[1])


@pytest.mark.parametrize("farthest", [10 * FARTHEST, 1e9])
def test_eigenvalues_too_far_apart_are_refused(farthest):
    assert times_inverse_root(np.ones((2, 30), np.float32), covariance_of(30, farthest)) is None


def test_eigenvalues_that_are_not_positive_are_refused():
    for least in (0, -1):
        covariance = np.diag([least, 1, 2]).astype(np.float32)
        assert times_inverse_root(np.ones((2, 3), np.float32), covariance) is None
