"""Interval of a mean by bootstrap."""

import numpy as np
from numpy.typing import NDArray


def mean_interval(values: NDArray[np.float64], resamples: int) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a mean, whose values are drawn with replacement.

    >>> mean_interval(np.full(5, 0.25), resamples=100)
    (0.25, 0.25)
    """
    rng, count = np.random.default_rng(0), len(values)
    means = [values[rng.integers(count, size=count)].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
