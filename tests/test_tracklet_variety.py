"""Batches of images with tracklets: variety, determinism, and no change without tracklets."""

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dccc_lightning.data.augmentation import BatchAugmentation
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.data.sampler import draw_batches
from dccc_lightning.data.tracklet_variety import spread_offsets, tracklet_numbers
from dccc_lightning.datamodule import ReIDDataModule

few = settings(deadline=None, max_examples=60)


@st.composite
def worlds(draw):
    """A labelled training set with tracklets and the arguments of a draw."""
    images = draw(st.integers(4, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    labels = rng.integers(-1, draw(st.integers(2, 6)), images)
    labels[:2] = 0, 7
    tracklets = rng.integers(0, draw(st.integers(1, 12)), images)
    return {
        "labels": labels,
        "cameras": tracklets % draw(st.integers(1, 4)),
        "tracklets": tracklets,
        "frames": rng.permutation(images),
        "clusters": draw(st.integers(1, 5)),
        "instances": draw(st.integers(1, 7)),
        "iterations": draw(st.integers(1, 8)),
        "seed": draw(st.integers(0, 2**40)),
        "epoch": draw(st.integers(0, 100)),
    }


def shared_out(sizes, taken, draws):
    """Images of each tracklet after ``draws``, by the law told slowly: one of each in turn."""
    counts = dict.fromkeys(sizes, 0)
    rounds = []  # how many tracklets give an image in each turn
    turn = 0
    while sum(counts.values()) < draws and any(s > turn for s in sizes.values()):
        able = [t for t, size in sizes.items() if size > turn and not (t == taken and turn == 0)]
        rounds.append(able)
        for tracklet in able:
            counts[tracklet] += 1
        turn += 1
    return rounds


@few
@given(worlds())
def test_each_block_follows_the_law(world):
    labels, cameras, tracklets, frames = (
        world[key] for key in ("labels", "cameras", "tracklets", "frames")
    )
    blocks = draw_batches(**world).reshape(-1, world["instances"])
    for anchor, *others in blocks.tolist():
        cluster = [i for i in range(len(labels)) if labels[i] == labels[anchor]]
        elsewhere = [i for i in cluster if cameras[i] != cameras[anchor]]
        candidates = elsewhere or [i for i in cluster if i != anchor] or [anchor]
        assert set(others) <= set(candidates)
        # Nothing repeats before all candidates are taken.
        most = Counter(others).most_common(1)
        assert not others or most[0][1] <= -(-len(others) // len(candidates))
        # One image of each tracklet in turn, the anchor's own tracklet last.
        members = elsewhere or cluster
        sizes = Counter(tracklets[members].tolist())
        taken = None if elsewhere else tracklets[anchor]
        left = others[: len(candidates)]
        for able in shared_out(sizes, taken, len(left)):
            turn, left = left[: len(able)], left[len(able) :]
            drawn = tracklets[turn].tolist()
            assert len(set(drawn)) == len(drawn)
            assert set(drawn) <= set(able)
        # Within a tracklet, in the order of van der Corput, from the anchor or any image on.
        for tracklet in set(tracklets[others].tolist()):
            own = sorted((i for i in members if tracklets[i] == tracklet), key=frames.__getitem__)
            order = van_der_corput(len(own))
            drawn = [i for i in others[: len(candidates)] if tracklets[i] == tracklet]
            drawn = [anchor, *drawn] if tracklet == taken and drawn != [anchor] else drawn
            places = [(own.index(i) - own.index(drawn[0])) % len(own) for i in drawn]
            assert places == order[: len(places)]


def van_der_corput(size):
    """Positions 0 .. size - 1 by the base-2 radical inverse of their place among 2^bits."""
    bits = max(1, (size - 1).bit_length())

    def inverse(position):
        return int(f"{position * 2**bits // size:0{bits}b}"[::-1], 2)

    return sorted(range(size), key=inverse)


def test_offsets_are_the_sequence_of_each_run():
    sizes = np.array([*range(1, 70), 7, 7, 1000])
    parts = np.split(spread_offsets(sizes), np.cumsum(sizes)[:-1])
    for size, part in zip(sizes.tolist(), parts, strict=True):
        assert part.tolist() == van_der_corput(size)
    # The first four of a long tracklet are a quarter of it apart.
    assert sorted(parts[-1][:4].tolist()) == [0, 250, 500, 750]


@few
@given(worlds())
def test_a_draw_is_a_function_of_its_arguments(world):
    first = draw_batches(**world)
    np.random.seed(0)  # noqa: NPY002  # the global state must not matter
    np.testing.assert_array_equal(first, draw_batches(**world))
    assert first.dtype == np.int64
    # A run stopped after some steps and resumed draws the whole epoch again and skips them.
    shorter = draw_batches(**{**world, "tracklets": world["tracklets"] * 3 + 5})
    np.testing.assert_array_equal(first, shorter)  # numbers themselves are without influence


def test_near_duplicates_are_rarer():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 60)
    lengths = rng.multinomial(60 - 6, [0.7, 0.1, 0.08, 0.06, 0.04, 0.02], size=8) + 1
    tracklets = np.repeat(np.arange(48), lengths.ravel())
    cameras = tracklets % 3
    frames = np.arange(480)

    def different(**columns):
        blocks = draw_batches(labels, cameras, 4, 4, 200, 0, 0, **columns).reshape(-1, 4)
        return np.mean([len(set(tracklets[block].tolist())) for block in blocks])

    assert different(tracklets=tracklets, frames=frames) > different() + 0.3


def test_numbers_tell_cameras_and_sessions_apart():
    paths = tuple(Path(f"{n}.jpg") for n in range(6))
    records = Records(paths, np.full(6, -1), np.array([0, 0, 1, 1, 0, 0]))
    assert tracklet_numbers(records) is None
    columns = {"tracklet": np.array([7, 7, 7, 7, -1, -1]), "session": np.array([0, 0, 0, 1, 0, 0])}
    numbers = tracklet_numbers(replace(records, columns=columns))
    assert len(set(numbers.tolist())) == 5
    assert numbers[0] == numbers[1]


class Drawn:
    """A dataset of flat images, 24 of them for training."""

    name = "drawn"

    def __init__(self, folder, columns):
        Image.new("RGB", (8, 16)).save(folder / "image.png")
        paths = (folder / "image.png",) * 24
        train = Records(paths, np.full(24, -1), np.arange(24) % 2, columns)
        none = Records.from_rows([])
        self.read = Splits(self.name, folder, train, none, none)

    def splits(self):
        return self.read


def test_the_datamodule_draws_with_tracklets(tmp_path):
    labels, frames = np.arange(24) % 3, np.arange(24)[::-1]

    def batches(columns):
        module = ReIDDataModule(
            Drawn(tmp_path, columns), 16, 8, 2, 4, 5, BatchAugmentation(16, 8), workers=0
        )
        module.setup()
        module.set_pseudo_labels(labels, 0)
        return module.train_dataloader().batch_sampler.current.batches

    arguments = (labels, np.arange(24) % 2, 2, 4, 5, 0, 0)
    assert np.array_equal(batches({}), draw_batches(*arguments))
    columns = {"tracklet": np.arange(24) % 12, "frame": frames}
    assert np.array_equal(batches(columns), draw_batches(*arguments, np.arange(24) % 12, frames))


def test_many_tracklets_are_drawn_quickly():
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(-1, 600, 100_000))
    tracklets = np.arange(100_000) // 30
    start = time.process_time()
    draw_batches(labels, tracklets % 6, 16, 16, 100, 0, 0, tracklets, np.arange(100_000))
    assert time.process_time() - start < 1.0
