"""Drawings of animals from above: what a view changes, and what stays."""

import numpy as np
import pytest

from dccc_lightning.data.synthetic.overhead import SIZE, overhead_animals


def test_the_same_seed_draws_the_same_animals_whatever_their_number():
    few, _ = overhead_animals(individuals=2, views=3, seed=4)
    more, animals = overhead_animals(individuals=3, views=3, seed=4)
    assert animals.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [image.tobytes() for image in few] == [image.tobytes() for image in more[:6]]
    assert {image.size for image in more} == {(SIZE, SIZE)}
    other, _ = overhead_animals(individuals=2, views=3, seed=5)
    assert other[0].tobytes() != few[0].tobytes()


def test_the_views_of_an_animal_lie_in_different_directions():
    images, _ = overhead_animals(individuals=1, views=6)
    angles = []
    for image in images:
        pixels = np.asarray(image, dtype=float)
        body = pixels.argmax(axis=2) != 1  # the ground is green
        y, x = np.nonzero(body)
        covariance = np.cov(np.stack([x, y]))
        long = np.linalg.eigh(covariance)[1][:, 1]
        angles.append(np.degrees(np.arctan2(long[1], long[0])) % 180)
    assert np.ptp(angles) > 45


@pytest.mark.parametrize("wrong", [{"individuals": 0}, {"views": 0}, {"views": 1.5}])
def test_numbers_below_one_are_refused(wrong):
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
        overhead_animals(**wrong)
