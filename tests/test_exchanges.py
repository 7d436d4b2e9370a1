"""Tracklets in which a tracker exchanged people, by the embeddings of their images alone."""

import numpy as np
import pytest

from dccc_lightning.clustering.tracklets import tracklet_links
from dccc_lightning.identities.exchanges import after_exchanges, likeliest_exchange
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.tasks.identify_cuts import cut_names
from dccc_lightning.tasks.identify_inputs import Labelled

CENTRES = np.random.default_rng(1).normal(size=(40, 32))
"""Appearances of individuals."""


def seen(people, images=8, noise=0.3, seed=0):
    """Return embeddings, tracklets and frames of tracklets that last from 0 to 70 in one camera.

    ``people`` has the individual of each image of each tracklet, or one for all of them.
    """
    rng = np.random.default_rng(seed)
    shown = [[own] * images if isinstance(own, int) else own for own in people]
    rows = np.array([CENTRES[who] + noise * rng.normal(size=32) for own in shown for who in own])
    tracklets = np.repeat(np.arange(len(shown)), images)
    return rows.astype(np.float32), tracklets, np.tile(np.arange(images) * 10, len(shown))


def cut(rows, tracklets, frames):
    """Return the images that follow an exchange."""
    zeros = np.zeros(len(rows), dtype=np.int64)
    same, different = tracklet_links(tracklets, zeros, zeros, frames)
    first = np.arange(len(rows))
    first[same.second] = same.first
    return after_exchanges(UnitEmbeddings.of(rows), first, frames, different)


PIECES = [(0, False), (1, True), (1, False), (0, True)]
"""Tracklet and side of the pieces that show person 0, then those that show person 1."""

EXCHANGED = [[0, 0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0, 0], 2, 3, 4, 5, 6]


@pytest.mark.parametrize("seed", range(5))
def test_two_who_were_exchanged_are_told_and_the_moment(seed):
    follows = cut(*seen(EXCHANGED, seed=seed))
    assert np.flatnonzero(follows).tolist() == [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("seed", range(5))
def test_tracks_without_a_mistake_stay_whole(seed):
    assert not cut(*seen(range(7), seed=seed)).any()
    assert not cut(*seen(range(7), noise=1.0, seed=seed)).any()


@pytest.mark.parametrize("seed", range(5))
def test_images_that_are_equal_up_to_rounding_exchange_nothing(seed):
    rows, tracklets, frames = seen([0] * 7, noise=1e-7, seed=seed)
    assert not cut(rows, tracklets, frames).any()


@pytest.mark.parametrize("look", [20, 1])
def test_one_who_looks_otherwise_after_a_while_is_not_exchanged(look):
    """Even like somebody beside: nobody beside looks as this one did before."""
    assert not cut(*seen([[0, 0, 0, 0, *[look] * 4], *range(1, 7)])).any()


def test_both_are_cut_at_one_moment():
    """One has an image between the last of one person and the first of the other: a late one."""
    rows, tracklets, frames = seen(EXCHANGED)
    frames[tracklets == 1] += 5
    assert np.flatnonzero(cut(rows, tracklets, frames)).tolist() == [3, 4, 5, 6, 7, *range(11, 16)]
    frames[3] = 24  # between 20 and 25 of the other, who shows person 1 until then
    follows = cut(rows, tracklets, frames)
    pieces = [frames[(tracklets == who) & (follows == late)] for who, late in PIECES]
    assert all(pieces[n].max() < pieces[n + 1].min() for n in (0, 2))


def test_one_image_on_a_side_is_enough_and_a_track_that_goes_on_as_another_is_not():
    short = [[0, 1, 1], [1, 0, 0], 2, 3, 4, 5, 6]
    assert np.flatnonzero(cut(*seen(short, images=3))).tolist() == [1, 2, 4, 5]
    rows, tracklets, frames = seen([[0, 0, 0, 0, 1, 1, 1, 1], 1, 0, *range(2, 7)])
    gone = ((tracklets == 1) & (frames > 30)) | ((tracklets == 2) & (frames < 40))
    assert not cut(rows[~gone], tracklets[~gone], frames[~gone]).any()


def test_a_tracklet_takes_part_in_one_exchange():
    """Of two partners that look alike, the better one is cut with it."""
    rows, tracklets, frames = seen([*EXCHANGED, EXCHANGED[1]])
    rows[tracklets == 7] += 0.5 * np.random.default_rng(3).normal(size=(8, 32))
    found = {int(tracklet) for tracklet in tracklets[cut(rows, tracklets, frames)]}
    assert found == {0, 1}


def test_the_order_of_images_does_not_matter():
    rows, tracklets, frames = seen(EXCHANGED)
    order = np.random.default_rng(0).permutation(len(rows))
    follows = cut(rows[order], tracklets[order], frames[order])
    assert sorted(order[follows]) == [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]


def test_too_little_to_tell_cuts_nothing():
    assert not cut(*seen(EXCHANGED[:6])).any()  # 15 pairs of people seen at once
    rows, tracklets, frames = seen(EXCHANGED)
    frames[5] = -1
    assert not cut(rows, tracklets, frames).any()  # nor its partner


@pytest.mark.parametrize("seed", range(4))
def test_the_likeliest_exchange_is_that_of_a_plain_original(seed):
    rng = np.random.default_rng(seed)
    ends = []
    for _ in range(2):
        rows = rng.normal(size=(rng.integers(2, 9), 5))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        ends += [rows, np.sort(rng.choice(40, len(rows), replace=False))]
    one, ones, other, others = ends
    found = []
    for moment in range(40):
        left, right, theirs, later = (
            rows[chosen]
            for rows, at in ((one, ones), (other, others))
            for chosen in (at <= moment, at > moment)
        )
        if min(map(len, (left, right, theirs, later))):
            within = np.mean([np.mean(left @ right.T), np.mean(theirs @ later.T)])
            across = np.mean([np.mean(left @ later.T), np.mean(theirs @ right.T)])
            found.append((moment, within, across))
    best = max(found, key=lambda exchange: round(exchange[2] - exchange[1], 9))
    np.testing.assert_allclose(likeliest_exchange(*ends), best)


def test_tracklets_without_a_common_time_exchange_nothing():
    rows = np.eye(3)
    assert likeliest_exchange(rows, np.array([0, 1, 2]), rows, np.array([2, 3, 4])) is None
    assert likeliest_exchange(rows[:1], np.array([1]), rows, np.array([0, 1, 2])) is None


def test_new_images_of_a_tracklet_that_was_cut_before_do_not_join_its_pieces():
    """The second piece of the new images may show whom the first one of the earlier images does."""
    rows, tracklets, frames = seen(EXCHANGED)
    earlier = ["h/0 cut 1", "h/0 cut 2"]
    columns = {
        "camera": ["h"] * 58,
        "session": [None] * 58,
        "tracklet": [f"h/{n}" for n in tracklets] + earlier,
        "frame": [*map(str, frames), "900", "910"],
    }
    unit = UnitEmbeddings.of(np.concatenate([rows, rows[:2]]))
    names = cut_names(Labelled([f"/{n}.jpg" for n in range(58)], columns, "f"), unit)
    assert [names[n] for n in (0, 3, 8, 11, 16)] == [
        "h/0 cut 3", "h/0 cut 4", "h/1 cut 1", "h/1 cut 2", "h/2",
    ]  # fmt: skip
    assert names[56:] == earlier
