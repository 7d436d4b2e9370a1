"""Calibration: the cosine above which two images count as the same person.

A pair is two images of different cameras and sightings; an unknown one differs from all. A genuine
pair shows one person, an impostor pair two. The threshold of a false match rate (FMR) is the lowest
score that at most this share of the impostor pairs reaches; the genuine pairs below it are false
non-matches (FNMR). Terms and the rules of 3 and of 30: ISO/IEC 19795-1.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse, stats

from dccc_lightning.common import checks
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.gallery.cross_camera_pairs import (
    PairCounts,
    Pairs,
    count_pairs,
    genuine_pairs,
    impostor_pairs,
)
from dccc_lightning.neighbors.collapse import sampled, warn_of_collapse
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE = 0.95
"""Confidence level of the intervals."""

RESAMPLES = 500
"""Number of bootstrap samples of the people."""

ENOUGH_ERRORS = 30
"""Rule of 30: a rate from fewer errors may be off by more than 30 % (90 % confidence)."""

CURVE_POINTS = 512

_WEIGHTS = 2**24
"""Most weights in memory."""


@dataclass(frozen=True)
class Rate:
    """Rate of errors among pairs, with its 95 % confidence interval.

    Attributes:
        value: Errors over pairs.
        low: Lower end of the interval.
        high: Upper end of the interval.
        errors: Pairs on the wrong side of the threshold.
        pairs: Pairs compared.
    """

    value: float
    low: float
    high: float
    errors: int
    pairs: int


@dataclass(frozen=True, eq=False)
class Calibration:
    """Threshold and its error rates.

    Attributes:
        threshold: Two images with at least this cosine count as one person.
        asked: Requested false match rate.
        false_match: Rate of impostor pairs at or above the threshold.
        false_non_match: Rate of genuine pairs below it.
        equal_error: Error rate at the threshold where both rates are equal.
        images: Number of images with a known label.
        people: Number of different labels.
        all_impostor_pairs: Number of impostor pairs, of which a sample may have been compared.
        curve: (P, 3) threshold, FMR and FNMR along the DET curve.
    """

    threshold: float
    asked: float
    false_match: Rate
    false_non_match: Rate
    equal_error: float
    images: int
    people: int
    all_impostor_pairs: int
    curve: Floats

    @property
    def rounded(self) -> str:
        """Threshold for display: four decimals, or more where those would be nines."""
        below = 1 - self.threshold
        decimals = 2 - math.floor(math.log10(below)) if below > 0 else 0
        return f"{self.threshold:.{max(4, decimals)}f}"

    @property
    def caution(self) -> str | None:
        """Reason not to trust the threshold, in one sentence, or None."""
        if self.threshold > 1:
            return (
                f"more than a share of {self.asked:g} of the impostor pairs have equal embeddings, "
                "so the threshold is above every score and a search with it finds nothing; remove "
                "copies of images, or use another checkpoint"
            )
        pairs, expected = self.false_match.pairs, self.asked * self.false_match.pairs
        if expected < 1:
            return (
                f"{pairs:,} impostor pairs are too few for a false match rate of {self.asked:g}: "
                f"no pair is above the threshold, which shows no more than a rate below "
                f"{self.false_match.high:.2g} ({CONFIDENCE:.0%} confidence)"
            )
        if expected < ENOUGH_ERRORS:
            return (
                f"a false match rate of {self.asked:g} leaves {self.false_match.errors} of "
                f"{pairs:,} impostor pairs above the threshold, fewer than {ENOUGH_ERRORS}: the "
                "rate may be off by more than 30 %"
            )
        return None


def calibrate(
    embeddings: Features,
    labels: Ints,
    cameras: Ints,
    false_match_rate: float,
    seed: int = 0,
    sightings: Ints | None = None,
) -> Calibration:
    """Compute the threshold of a false match rate.

    All pairs of a kind are compared up to ``cross_camera_pairs.MOST``; of more, a sample that
    depends on ``seed`` only. Intervals come from a bootstrap of the people, because pairs with a
    common person are not independent, or from the binomial distribution (Clopper and Pearson) where
    that is wider, as without errors.

    Args:
        embeddings: (N, D), normalised inside; of images that turn see ``of_rows``.
        labels: (N,) identities or pseudo labels; images with ``UNKNOWN`` do not count.
        cameras: (N,) cameras, or ``UNKNOWN``.
        false_match_rate: In (0, 1).
        seed: Seed of the samples.
        sightings: (N,) sessions or tracklets, or ``UNKNOWN``; None if all are unknown.

    Raises:
        ValueError: Lengths differ, the rate is out of its range, or no genuine or no impostor pair
            exists.
    """
    checks.real("false_match_rate", false_match_rate, 0, 1, open_low=True, open_high=True)
    unit = UnitEmbeddings.of(embeddings, "embeddings")
    labels = np.asarray(labels)
    views = [np.asarray(view) for view in (cameras, sightings) if view is not None]
    for view in views:
        if not labels.shape == view.shape == (len(unit),):
            raise ValueError(
                f"labels and cameras must be ({len(unit)},), got {labels.shape} and {view.shape}"
            )
    known = labels != UNKNOWN
    names, people = np.unique(labels[known], return_inverse=True)
    unit = unit[known]
    # A view whose labels are all unknown leaves out no pair.
    views = [view[known] for n, view in enumerate(views) if not n or (view != UNKNOWN).any()]
    totals = count_pairs(people, *views)
    if not totals.genuine or not totals.impostor:
        kind = "genuine" if not totals.genuine else "impostor"
        raise ValueError(
            f"no {kind} pair: {len(unit)} labelled images of {len(names)} people, none of them "
            f"{'twice' if kind == 'genuine' else 'with a stranger'} under different cameras"
            + (" and in different sessions" if len(views) > 1 else "")
        )
    warn_of_collapse(sampled(torch.from_numpy(unit.rows)), "labelled images", log)
    genuine = genuine_pairs(unit, people, views, totals, seed)
    impostor = impostor_pairs(unit, people, views, totals, seed)
    threshold = threshold_at(impostor.scores, false_match_rate)
    curve = det_curve(genuine.scores, impostor.scores)
    balance = int(np.abs(curve[:, 1] - curve[:, 2]).argmin())
    is_match, is_miss = impostor.scores >= threshold, genuine.scores < threshold
    resampled = [
        (
            _impostor_rates(impostor, is_match, people, totals, weights),
            _genuine_rates(genuine, is_miss, people, totals, weights),
        )
        for weights in _people_weights(len(names), seed)
    ]
    matches, misses = (np.concatenate(rates) for rates in zip(*resampled, strict=True))
    return Calibration(
        threshold=threshold,
        asked=false_match_rate,
        false_match=_rate(is_match, matches),
        false_non_match=_rate(is_miss, misses),
        equal_error=float(curve[balance, 1:].mean()),
        images=len(unit),
        people=len(names),
        all_impostor_pairs=totals.impostor,
        curve=curve,
    )


def threshold_at(impostor: Floats, false_match_rate: float) -> float:
    """Return the lowest score reached by at most this share of the impostor scores.

    >>> scores = np.array([0.1, 0.2, 0.3, 0.9])
    >>> [int((scores >= threshold_at(scores, rate)).sum()) for rate in (0.24, 0.25, 0.5)]
    [0, 1, 2]
    """
    allowed = int(np.floor(false_match_rate * len(impostor) * (1 + 1e-12)))
    highest_refused = np.partition(impostor, len(impostor) - allowed - 1)[-allowed - 1]
    return float(np.nextafter(highest_refused, np.inf))


def det_curve(genuine: Floats, impostor: Floats) -> Floats:
    """Return (P, 3) threshold, FMR and FNMR, by ascending FMR.

    Thresholds are evenly spaced in the logarithm of the FMR, from one impostor pair to all.
    """
    ranked, kept = np.sort(impostor), np.sort(genuine)
    n = len(ranked)
    above = np.unique(np.geomspace(1, n, CURVE_POINTS).astype(np.int64))
    thresholds = np.unique(np.append(ranked[n - above], np.nextafter(ranked[-1], 2)))
    false_match = 1 - np.searchsorted(ranked, thresholds) / n
    false_non_match = np.searchsorted(kept, thresholds) / len(kept)
    return np.stack([thresholds, false_match, false_non_match], axis=1)[::-1]


def _people_weights(people: int, seed: int) -> Iterator[Floats]:
    """Yield (people, samples), the count of each person in each bootstrap sample."""
    rng, even = np.random.default_rng(seed), np.full(people, 1 / people)
    together = max(1, _WEIGHTS // people)
    for first in range(0, RESAMPLES, together):
        draws = rng.multinomial(people, even, min(together, RESAMPLES - first))
        yield draws.T.astype(np.float64)


def _impostor_rates(
    pairs: Pairs, is_error: NDArray[np.bool_], people: Ints, totals: PairCounts, weights: Floats
) -> Floats:
    """Return the rate in each bootstrap sample; pairs weigh the product of both counts."""
    ends = people[pairs.first[is_error]], people[pairs.second[is_error]]
    shape = (len(weights), len(weights))
    errors = sparse.coo_array((np.ones(len(ends[0])), ends), shape=shape).tocsr()
    weighted = (weights * np.asarray(errors @ weights)).sum(axis=0)
    share = len(pairs.scores) / totals.impostor  # share of the pairs compared
    return _ratio(weighted, totals.weighted_impostors(weights) * share)


def _genuine_rates(
    pairs: Pairs, is_error: NDArray[np.bool_], people: Ints, totals: PairCounts, weights: Floats
) -> Floats:
    """Return the rate in each bootstrap sample."""
    errors = np.bincount(people[pairs.first[is_error]], minlength=len(weights))
    share = len(pairs.scores) / totals.genuine
    return _ratio(errors @ weights, totals.genuine_by_person @ weights * share)


def _ratio(errors: Floats, pairs: Floats) -> Floats:
    return np.minimum(errors[pairs > 0] / pairs[pairs > 0], 1.0)


def _rate(is_error: NDArray[np.bool_], resampled: Floats) -> Rate:
    """Return the rate of errors with the wider of its two intervals."""
    errors, pairs = int(is_error.sum()), len(is_error)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail]) if resampled.size else (0.0, 1.0)
    exact = stats.binomtest(errors, pairs).proportion_ci(CONFIDENCE, method="exact")
    return Rate(
        value=errors / pairs,
        low=float(min(low, exact.low)),
        high=float(max(high, exact.high)),
        errors=errors,
        pairs=pairs,
    )
