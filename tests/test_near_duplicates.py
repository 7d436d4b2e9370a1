"""Near-duplicates: what the hash takes for alike, and the search against all pairs."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from dccc_lightning.data.audit.near_duplicates import RADIUS, NearDuplicateSearch
from dccc_lightning.data.audit.perceptual_hash import BITS, perceptual_hash
from trees import picture


def saved(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def apart(one, other):
    bits = np.frombuffer(one, dtype=np.uint8) ^ np.frombuffer(other, dtype=np.uint8)
    return int(np.bitwise_count(bits).sum())


CHANGES = {
    "quality 50": lambda image: saved(image, 50),
    "half": lambda image: image.resize((32, 64), Image.Resampling.BICUBIC),
    "twice": lambda image: image.resize((128, 256), Image.Resampling.BILINEAR),
    "square": lambda image: image.resize((96, 96), Image.Resampling.BICUBIC),
    "grey": lambda image: image.convert("L"),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_image_that_was_changed_a_little_is_alike(change):
    for number in range(20):
        image = picture(number)
        changed = perceptual_hash(CHANGES[change](image))
        assert apart(perceptual_hash(image), changed) <= RADIUS


def test_other_images_are_not_alike():
    hashes = [perceptual_hash(picture(number)) for number in range(60)]
    distances = [apart(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 4 * RADIUS
    assert len(hashes[0]) * 8 == BITS
    mirrored = picture(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert apart(perceptual_hash(mirrored), hashes[0]) > RADIUS


def hashes_near(rng, count, originals, most):
    """Hashes in which up to ``most`` bits of one of a few originals are turned."""
    bits = rng.integers(0, 2, (originals, BITS), dtype=np.uint8)[
        rng.integers(originals, size=count)
    ]
    for row in bits:
        row[rng.choice(BITS, rng.integers(most + 1), replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def all_distances(hashes):
    found = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2, dtype=np.int64)
    np.fill_diagonal(found, BITS)
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))
def test_the_search_finds_what_all_pairs_show(seed, count, originals, groups):
    rng = np.random.default_rng(seed)
    hashes = hashes_near(rng, count, originals, most=12)
    group = rng.integers(groups, size=count)
    search = NearDuplicateSearch(
        [row.tobytes() for row in hashes], group, 3, lambda a, b: 1 + (a + b) % 2
    )
    pairs = search.pairs()
    distances = all_distances(hashes)
    position = np.arange(count)
    kind = np.where(group[:, None] == group[None], 0, 1 + (position[:, None] + position) % 2)
    for pair in pairs:
        assert pair.first < pair.second
        assert kind[pair.first, pair.second] == pair.kind
        assert distances[pair.first, pair.second] == pair.bits <= RADIUS
    for number in range(3):
        least = np.where(kind == number, distances, BITS).min(axis=1)
        mine = [pair for pair in pairs if pair.kind == number]
        paired = {place for pair in mine for place in pair[1:3]}
        assert paired == set(np.flatnonzero(least <= RADIUS).tolist())
        if number:
            nearest = {
                place: min(pair.bits for pair in mine if place in pair[1:3]) for place in paired
            }
            assert nearest == {place: least[place] for place in paired}


def test_the_border_is_exact_wherever_the_bits_are():
    """15 bits that spoil 15 of the 16 bands are found, 16 in all bands are too many."""
    one = np.zeros(BITS, dtype=np.uint8)
    other, third = one.copy(), one.copy()
    other[np.arange(15) * 16 + 3] = 1
    third[np.arange(16) * 16 + 5] = 1
    hashes = [np.packbits(bits).tobytes() for bits in (one, other, third)]
    zeros = np.zeros(3, dtype=np.int64)
    assert NearDuplicateSearch(hashes, zeros, 1, lambda a, _: 0 * a).pairs() == [(0, 0, 1, 15)]


def test_nothing_and_one_have_no_near_duplicates():
    for count in (0, 1):
        search = NearDuplicateSearch([bytes(32)] * count, np.arange(count), 1, lambda a, _: 0 * a)
        assert search.pairs() == []


def test_many_frames_of_a_still_camera_are_not_compared_pair_by_pair(monkeypatch):
    hashes = hashes_near(np.random.default_rng(0), 5_000, 1, most=5)
    compared = []
    note = NearDuplicateSearch._note
    monkeypatch.setattr(
        NearDuplicateSearch,
        "_note",
        lambda self, first, *rest: compared.append(len(first)) or note(self, first, *rest),
    )
    group = np.zeros(len(hashes), dtype=np.int64)
    search = NearDuplicateSearch([row.tobytes() for row in hashes], group, 1, lambda a, _: 0 * a)
    paired = {place for pair in search.pairs() for place in pair[1:3]}
    assert len(paired) == 5_000
    assert sum(compared) < 50_000
