"""Thresholds of a false match rate: against all pairs by loops, and against a known law."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dccc_lightning.gallery import calibration, cross_camera_pairs
from dccc_lightning.gallery.calibration import calibrate, det_curve, threshold_at
from dccc_lightning.neighbors.embeddings import UnitEmbeddings


def all_pairs(labels, cameras):
    """Genuine and impostor pairs, one by one."""
    kinds = {True: [], False: []}
    for i, j in itertools.combinations(range(len(labels)), 2):
        if -1 in (labels[i], labels[j]) or (cameras[i] == cameras[j] and cameras[i] != -1):
            continue
        kinds[labels[i] == labels[j]].append((i, j))
    return kinds[True], kinds[False]


def world(people=30, shots=6, cameras=3, noise=0.7, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), shots)
    rows = rng.standard_normal((people, dim))[labels] + noise * rng.standard_normal(
        (len(labels), dim)
    )
    return rows, labels, rng.integers(cameras, size=len(labels))


labelled = st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 2)), min_size=2, max_size=14)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-1, 2)] * 3), min_size=2, max_size=12), st.integers(0, 99))
def test_pairs_differ_in_camera_and_sighting(images, seed):
    labels, cameras, sightings = (np.array(side) for side in zip(*images, strict=True))
    people = np.unique(labels, return_inverse=True)[1]
    unit = UnitEmbeddings.of(np.random.default_rng(0).standard_normal((len(people), 4)))
    weights = np.random.default_rng(seed).integers(0, 4, size=(people.max() + 1, 2)).astype(float)
    expected, weighted = {True: [], False: []}, np.zeros(2)
    for i, j in itertools.combinations(range(len(people)), 2):
        if all(v[i] != v[j] or v[i] == -1 for v in (cameras, sightings)):
            expected[people[i] == people[j]].append((i, j))
            if people[i] != people[j]:
                weighted += weights[people[i]] * weights[people[j]]
    counts = cross_camera_pairs.count_pairs(people, cameras, sightings)
    assert (counts.genuine, counts.impostor) == (len(expected[True]), len(expected[False]))
    assert counts.genuine_by_person.sum() == counts.genuine
    np.testing.assert_allclose(counts.weighted_impostors(weights), weighted)
    finders = cross_camera_pairs.genuine_pairs, cross_camera_pairs.impostor_pairs
    for pairs, find in zip((expected[True], expected[False]), finders, strict=True):
        if pairs:
            found = find(unit, people, [cameras, sightings], counts, seed=0)
            ends = zip(found.first.tolist(), found.second.tolist(), strict=True)
            assert sorted(map(tuple, map(sorted, ends))) == pairs


def test_pairs_of_one_session_do_not_count():
    """Frames of one sighting are nearly equal, and say nothing about recognition."""
    rows, labels, cameras = world(people=20, shots=4)
    rows[1::2] = rows[::2]  # pairs of equal frames
    sessions = np.arange(len(labels)) // 2
    unknown = np.full(len(labels), -1)
    counted = calibrate(rows, labels, unknown, 0.01)
    apart = calibrate(rows, labels, unknown, 0.01, sightings=sessions)
    assert counted.false_non_match.pairs == 20 * 6
    assert apart.false_non_match.pairs == 20 * 4
    assert apart.false_non_match.value > counted.false_non_match.value
    same = calibrate(rows, labels, cameras, 0.01, sightings=unknown)
    assert same.threshold == calibrate(rows, labels, cameras, 0.01).threshold
    with pytest.raises(ValueError, match="under different cameras and in different sessions"):
        calibrate(rows, labels, unknown, 0.01, sightings=labels)


@settings(max_examples=80, deadline=None)
@given(labelled)
def test_pairs_are_those_of_different_cameras_and_known_labels(images):
    labels, cameras = (np.array(side) for side in zip(*images, strict=True))
    labels, cameras = labels[labels >= 0], cameras[labels >= 0]
    people = np.unique(labels, return_inverse=True)[1]
    genuine, impostor = all_pairs(labels, cameras)
    rows = np.random.default_rng(0).standard_normal((len(people), 4))
    unit = UnitEmbeddings.of(rows, may_be_empty=True)
    rows = unit.rows
    counts = cross_camera_pairs.count_pairs(people, cameras)
    assert (counts.genuine, counts.impostor) == (len(genuine), len(impostor))
    for expected, find in (
        (genuine, cross_camera_pairs.genuine_pairs),
        (impostor, cross_camera_pairs.impostor_pairs),
    ):
        if not expected:
            continue
        found = find(unit, people, [cameras], counts, seed=0)
        ends = zip(found.first.tolist(), found.second.tolist(), strict=True)
        assert sorted(map(tuple, map(sorted, ends))) == expected
        scores = [rows[i] @ rows[j] for i, j in zip(found.first, found.second, strict=True)]
        np.testing.assert_allclose(found.scores, scores, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(labelled, st.integers(0, 99))
def test_weighted_impostors_weigh_as_both_people_do(images, seed):
    people, cameras = (np.array(side) for side in zip(*images, strict=True))
    people = np.unique(people, return_inverse=True)[1]
    weights = np.random.default_rng(seed).integers(0, 4, size=(people.max() + 1, 2)).astype(float)
    expected = np.zeros(2)
    for i, j in all_pairs(people, cameras)[1]:
        expected += weights[people[i]] * weights[people[j]]
    counts = cross_camera_pairs.count_pairs(people, cameras)
    np.testing.assert_allclose(counts.weighted_impostors(weights), expected)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from([-0.5, 0.0, 0.1, 0.2, 0.3, 0.9]), min_size=1, max_size=40),
    st.floats(0.001, 0.999),
)
def test_the_threshold_is_the_lowest_that_keeps_the_rate(scores, rate):
    scores = np.array(scores)
    threshold = threshold_at(scores, rate)
    assert (scores >= threshold).mean() <= rate
    below = np.nextafter(threshold, -2)
    assert (scores >= below).mean() > rate


def test_rates_are_those_of_all_pairs():
    rows, labels, cameras = world()
    labels[::7] = -1
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    genuine, impostor = all_pairs(labels, cameras)
    found = calibrate(rows, labels, cameras, 0.01)
    accepted = sum(unit[i] @ unit[j] >= found.threshold for i, j in impostor)
    missed = sum(unit[i] @ unit[j] < found.threshold for i, j in genuine)
    # One more or less: these cosines are not rounded to single precision.
    assert found.false_match.errors == pytest.approx(accepted, abs=1)
    assert found.false_non_match.errors == pytest.approx(missed, abs=1)
    assert found.false_match.pairs == len(impostor)
    assert found.false_non_match.pairs == len(genuine)
    assert found.false_match.errors == int(0.01 * len(impostor))
    assert (found.images, found.people) == ((labels >= 0).sum(), len(set(labels) - {-1}))
    for rate in (found.false_match, found.false_non_match):
        assert rate.low < rate.value < rate.high


def test_the_threshold_of_a_known_law():
    # Strangers on a sphere of D dimensions: (1 + cosine) / 2 is Beta((D - 1) / 2, (D - 1) / 2).
    dim, rate = 16, 0.01
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2400, dim))
    found = calibrate(rows, np.arange(2400) // 2, np.arange(2400) % 2, rate)
    half = (dim - 1) / 2
    expected = 2 * stats.beta(half, half).isf(rate) - 1
    assert found.threshold == pytest.approx(expected, abs=0.01)
    assert found.false_match.low < rate < found.false_match.high
    assert found.equal_error == pytest.approx(0.5, abs=0.03)  # its pairs are strangers, too
    assert found.caution is None


def test_intervals_hold_what_they_promise():
    # A threshold from one sample of people, its rate on many others: within in about 95 of 100.
    truth = calibrate(*world(people=300, seed=1000), 0.02)
    inside = 0
    for seed in range(30):
        rows, labels, cameras = world(people=25, seed=seed)
        found = calibrate(rows, labels, cameras, 0.02)
        curve = truth.curve[::-1]
        real = np.interp(found.threshold, curve[:, 0], curve[:, 1])
        inside += found.false_match.low <= real <= found.false_match.high
    assert inside >= 24


def test_sampled_pairs_give_nearly_the_threshold_of_all(monkeypatch):
    rows, labels, cameras = world(people=60, shots=10)
    exact = calibrate(rows, labels, cameras, 0.02)
    monkeypatch.setattr(cross_camera_pairs, "MOST", 20_000)
    sampled = calibrate(rows, labels, cameras, 0.02)
    assert exact.false_match.pairs == exact.all_impostor_pairs > 100_000
    assert sampled.false_match.pairs == 20_000
    assert sampled.all_impostor_pairs == exact.all_impostor_pairs
    assert sampled.threshold == pytest.approx(exact.threshold, abs=0.01)
    assert sampled.threshold == calibrate(rows, labels, cameras, 0.02).threshold
    assert sampled.threshold != calibrate(rows, labels, cameras, 0.02, seed=1).threshold
    monkeypatch.setattr(cross_camera_pairs, "MOST", 700)
    assert calibrate(rows, labels, cameras, 0.02).false_non_match.pairs < 1000 < len(rows) * 3


def test_of_many_pairs_of_one_person_a_sample_is_drawn_in_little_memory(monkeypatch):
    people = np.concatenate([np.zeros(4000, dtype=np.int64), np.arange(1, 6)])
    cameras = np.arange(len(people)) % 3
    rows = np.random.default_rng(0).standard_normal((len(people), 2)).astype(np.float32)
    counts = cross_camera_pairs.count_pairs(people, cameras)
    monkeypatch.setattr(cross_camera_pairs, "MOST", 5000)
    monkeypatch.setattr(cross_camera_pairs, "_BLOCK", 2**14)
    tracemalloc.start()
    genuine = cross_camera_pairs.genuine_pairs(
        UnitEmbeddings.of(rows), people, [cameras], counts, seed=0
    )
    impostor = cross_camera_pairs.impostor_pairs(
        UnitEmbeddings.of(rows), people, [cameras], counts, seed=0
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6  # all pairs of places at once: 128 MB
    assert len(genuine.scores) == len(impostor.scores) == 5000
    for found, same in ((genuine, True), (impostor, False)):
        assert ((people[found.first] == people[found.second]) == same).all()
        assert (cameras[found.first] != cameras[found.second]).all()
        images = np.bincount(np.concatenate([found.first, found.second]), minlength=4000)[:4000]
        assert images.max() < 20  # spread over all
    assert len({*zip(genuine.first.tolist(), genuine.second.tolist(), strict=True)}) == 5000


def test_few_strangers_among_many_images_are_found_at_once(monkeypatch):
    """Of two persons drawn at random, one in 700,000 pairs would be these."""
    people = np.zeros(30_000, dtype=np.int64)
    people[-20:] = 1
    cameras = np.arange(len(people)) % 2
    rows = np.zeros((len(people), 1), dtype=np.float32)
    counts = cross_camera_pairs.count_pairs(people, cameras)
    monkeypatch.setattr(cross_camera_pairs, "MOST", 1000)
    found = cross_camera_pairs.impostor_pairs(
        UnitEmbeddings.of(rows), people, [cameras], counts, seed=0
    )
    assert len(found.scores) == 1000 < counts.impostor
    assert (people[found.first] != people[found.second]).all()
    monkeypatch.setattr(cross_camera_pairs, "MOST", 10**6)
    found = cross_camera_pairs.impostor_pairs(
        UnitEmbeddings.of(rows), people, [cameras], counts, seed=0
    )
    assert len(found.scores) == counts.impostor == 299_800


def test_people_are_drawn_alike_in_parts(monkeypatch):
    whole = np.concatenate(list(calibration._people_weights(7, 0)), axis=1)
    monkeypatch.setattr(calibration, "_WEIGHTS", 50)
    parts = list(calibration._people_weights(7, 0))
    assert len(parts) == 72
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_too_few_pairs_for_the_rate_are_said_to_be():
    rows, labels, cameras = world(people=8, shots=4)
    found = calibrate(rows, labels, cameras, 1e-5)
    assert found.false_match.errors == 0
    assert found.false_match.high >= 3 / found.false_match.pairs  # the rule of three, about
    assert "too few for a false match rate of 1e-05" in found.caution
    assert found.threshold > max(
        (rows[i] @ rows[j]) / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
        for i, j in all_pairs(labels, cameras)[1]
    ) - 1e-6  # fmt: skip
    few = calibrate(rows, labels, cameras, 0.02)
    assert 0 < few.false_match.errors < calibration.ENOUGH_ERRORS
    assert "fewer than 30" in few.caution


def test_the_curve_falls_from_corner_to_corner():
    rng = np.random.default_rng(0)
    genuine, impostor = rng.normal(0.6, 0.1, 500), rng.normal(0.1, 0.1, 3000)
    curve = det_curve(genuine, impostor)
    for threshold, false_match, false_non_match in curve[::37]:
        assert false_match == pytest.approx((impostor >= threshold).mean())
        assert false_non_match == pytest.approx((genuine < threshold).mean())
    assert (curve[0, 1], curve[-1, 1]) == (0, 1)
    assert (np.diff(curve[:, 0]) < 0).all()
    assert (np.diff(curve[:, 1]) >= 0).all()
    assert (np.diff(curve[:, 2]) <= 0).all()


@pytest.mark.parametrize(
    ("labels", "cameras", "rate", "said"),
    [
        ([0, 1, 2], [0, 1, 2], 0.1, "no genuine pair: 3 labelled images of 3 people"),
        ([0, 0, -1], [0, 1, 2], 0.1, "no impostor pair"),
        ([0, 0, 1], [5, 5, 5], 0.1, "no genuine pair"),
        ([0, 0, 1], [0, 1, 2], 0.0, r"false_match_rate must be in \(0, 1\)"),
        ([0, 0], [0, 1], 0.1, r"must be \(3,\)"),
    ],
)
def test_what_cannot_be_calibrated_says_why(labels, cameras, rate, said):
    with pytest.raises(ValueError, match=said):
        calibrate(np.eye(3), np.array(labels), np.array(cameras), rate)
