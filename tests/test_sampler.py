"""The PK sampler's law, property by property, and the cut by rank."""

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.data.sampler import ClusterBatchSampler, SampleKey, draw_batches

few = settings(deadline=None, max_examples=60)


@st.composite
def worlds(draw):
    """A labelled training set and the arguments of a draw."""
    images = draw(st.integers(4, 60))
    number = draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    labels = rng.integers(-1, number, images)
    labels[:2] = 0, 7
    cameras = rng.integers(0, draw(st.integers(1, 5)), images)
    if draw(st.booleans()):
        cameras[:] = -1
    return {
        "labels": labels,
        "cameras": cameras,
        "clusters": draw(st.integers(1, 6)),
        "instances": draw(st.integers(1, 6)),
        "iterations": draw(st.integers(0, 12)),
        "seed": draw(st.integers(0, 2**40)),
        "epoch": draw(st.integers(0, 100)),
    }


def blocks_of(world):
    batches = draw_batches(**world)
    return batches.reshape(world["iterations"], world["clusters"], world["instances"])


def candidates_of(anchor, labels, cameras):
    """The law as it is told: other cameras of the cluster, else its other images, else itself."""
    cluster = [i for i in range(len(labels)) if labels[i] == labels[anchor]]
    elsewhere = [i for i in cluster if cameras[i] != cameras[anchor]]
    return elsewhere or [i for i in cluster if i != anchor] or [anchor]


@few
@given(worlds())
def test_each_block_follows_the_law(world):
    labels, cameras, instances = world["labels"], world["cameras"], world["instances"]
    for block in blocks_of(world).reshape(-1, instances):
        anchor, *others = block.tolist()
        assert labels[anchor] >= 0
        candidates = candidates_of(anchor, labels, cameras)
        assert set(others) <= set(candidates)
        if len(candidates) >= instances:
            assert len(set(others)) == len(others)


@few
@given(worlds())
def test_passes_visit_every_cluster_once(world):
    labels, P = world["labels"], world["clusters"]
    clusters = set(labels[labels >= 0].tolist())
    drawn = labels[blocks_of(world)[:, :, 0]]
    if len(clusters) >= P:
        per_pass = len(clusters) // P
        for start in range(0, len(drawn), per_pass):
            visited = drawn[start : start + per_pass].ravel().tolist()
            assert len(set(visited)) == len(visited)
        return
    for batch in drawn.tolist():
        for start in range(0, P, len(clusters)):
            part = batch[start : start + len(clusters)]
            assert len(set(part)) == len(part)
        assert set(batch) == clusters


@few
@given(worlds())
def test_a_draw_is_a_function_of_its_arguments(world):
    first = draw_batches(**world)
    assert first.dtype == np.int64
    assert first.shape == (world["iterations"], world["clusters"] * world["instances"])
    np.random.seed(0)  # noqa: NPY002  # the global state must not matter
    np.testing.assert_array_equal(first, draw_batches(**world))


def many(labels, cameras, instances, number=30_000, seed=0):
    """Blocks of a draw long enough for statistics, (number, instances)."""
    labels, cameras = np.array(labels), np.array(cameras)
    clusters = len(set(labels[labels >= 0].tolist()))
    batches = draw_batches(labels, cameras, clusters, instances, number // clusters, seed, 0)
    return batches.reshape(-1, instances)


def assert_frequencies(values, expected):
    """Compare the frequencies of values with probabilities, within five standard errors."""
    counts = Counter(values)
    assert set(counts) == set(expected)
    for value, probability in expected.items():
        error = (probability * (1 - probability) / len(values)) ** 0.5
        assert abs(counts[value] / len(values) - probability) <= 5 * error + 1e-12, value


def test_anchors_and_others_are_uniform():
    labels = [0, 0, 0, 0, 0, 1, -1, 0]
    cameras = [0, 0, 1, 2, 2, 0, 0, 2]
    blocks = many(labels, cameras, 3)
    blocks = blocks[np.array(labels)[blocks[:, 0]] == 0]
    assert_frequencies(blocks[:, 0].tolist(), dict.fromkeys([0, 1, 2, 3, 4, 7], 1 / 6))
    for anchor, candidates in {0: [2, 3, 4, 7], 2: [0, 1, 3, 4, 7], 7: [0, 1, 2]}.items():
        others = blocks[blocks[:, 0] == anchor, 1:]
        pairs = [(a, b) for a in candidates for b in candidates if a != b]
        assert_frequencies(list(map(tuple, others.tolist())), dict.fromkeys(pairs, 1 / len(pairs)))


def test_replacement_below_k_candidates():
    # Two candidates, K = 3: K - 1 would do without replacement, but the law asks for K.
    blocks = many([0, 0, 0, 1], [0, 1, 1, 0], 3)
    others = blocks[blocks[:, 0] == 0, 1:]
    pairs = [(a, b) for a in (1, 2) for b in (1, 2)]
    assert_frequencies(list(map(tuple, others.tolist())), dict.fromkeys(pairs, 1 / 4))


def test_one_camera_or_none_known():
    for camera in (3, -1):
        blocks = many([0, 0, 0, 0, 1], [camera] * 5, 2)
        blocks = blocks[blocks[:, 0] == 1]
        assert_frequencies(blocks[:, 1].tolist(), dict.fromkeys([0, 2, 3], 1 / 3))


def test_an_image_alone_repeats():
    batches = draw_batches(np.array([4, 9, 9, -1]), np.array([0, 0, 1, 2]), 2, 4, 5, 0, 0)
    for batch in batches.reshape(5, 2, 4):
        alone = next(block for block in batch.tolist() if block[0] == 0)
        assert alone == [0, 0, 0, 0]
    assert 3 not in batches


def test_orders_are_uniform():
    order = many([0, 1, 2], [0, 0, 0], 1).reshape(-1, 3)
    permutations = [(a, b, 3 - a - b) for a in range(3) for b in range(3) if a != b]
    assert_frequencies(list(map(tuple, order.tolist())), dict.fromkeys(permutations, 1 / 6))


def test_seed_and_epoch_matter():
    labels, cameras = np.arange(40) // 4, np.arange(40) % 4
    draws = {
        draw_batches(labels, cameras, 4, 4, 6, seed, epoch).tobytes()
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(draws) == 9


@pytest.mark.parametrize("labels", [[-1, -1, -1], [0, 0, -1]])
def test_too_few_clusters(labels):
    with pytest.raises(ValueError, match=r"at least 2 clusters, got [01]"):
        draw_batches(np.array(labels), np.zeros(3, int), 2, 2, 1, 0, 0)


def test_arguments_are_checked():
    labels = np.array([0, 0, 1])
    for name, values in {
        "clusters": (0, 2, 1),
        "instances": (2, 0, 1),
        "iterations": (2, 2, -1),
    }.items():
        with pytest.raises(ValueError, match=name):
            draw_batches(labels, labels, *values, 0, 0)
    with pytest.raises(ValueError, match="labels and cameras must have one shape"):
        draw_batches(labels, labels[:2], 2, 2, 1, 0, 0)


def test_an_epoch_of_market_is_drawn_quickly():
    rng = np.random.default_rng(0)
    labels, cameras = rng.integers(-1, 700, 13_000), rng.integers(0, 6, 13_000)
    times = []
    for epoch in range(3):
        start = time.process_time()
        draw_batches(labels, cameras, 16, 16, 200, 0, epoch)
        times.append(time.process_time() - start)
    assert min(times) < 0.15


@few
@given(
    st.integers(1, 6), st.integers(1, 4), st.integers(0, 7), st.integers(0, 7), st.integers(1, 3)
)
def test_parts_of_ranks_make_up_the_global_batch(block, world_size, iterations, start, parts):
    start = min(start, iterations)
    size = block * world_size * parts
    batches = np.arange(iterations * size).reshape(iterations, size)
    ranks = [
        ClusterBatchSampler(batches, 5, rank, world_size, start, parts)
        for rank in range(world_size)
    ]
    assert {len(sampler) for sampler in ranks} == {iterations * parts}  # of the whole epoch
    yielded = list(zip(*ranks, strict=True))
    assert len(yielded) == (iterations - start) * parts
    assert {len(blocks) for part in yielded for blocks in part} <= {block}
    keys = [key for part in yielded for blocks in part for key in blocks]
    assert keys == [
        SampleKey(int(index), 5, step, slot)
        for step in range(start, iterations)
        for slot, index in enumerate(batches[step])
    ]
    assert all(type(number) is int for key in keys for number in key)


def test_iterating_again_yields_the_same():
    sampler = ClusterBatchSampler(np.arange(12).reshape(3, 4), 0)
    assert list(sampler) == list(sampler)


def test_world_sizes_that_do_not_divide():
    batches = np.zeros((2, 12), dtype=np.int64)
    with pytest.raises(ValueError, match="of 12 images, got 5; choose from 1, 2, 3, 4, 6, 12"):
        ClusterBatchSampler(batches, 0, world_size=5)
    with pytest.raises(ValueError, match=r"world_size \* parts must divide .* got 8"):
        ClusterBatchSampler(batches, 0, world_size=2, parts=4)
    for arguments in ({"rank": 2, "world_size": 2}, {"start": 3}, {"epoch": -1}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            ClusterBatchSampler(batches, **{"epoch": 0} | arguments)
