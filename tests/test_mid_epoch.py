"""A resumed epoch continues the interrupted one."""

import pytest

from dccc_lightning.data.mid_epoch import InterruptedEpoch
from dccc_lightning.errors import UserError

SETTINGS = {"seed": 1, "batch.clusters": 4, "image.height": 64}
BEGUN = InterruptedEpoch(epoch=2, steps=3, iterations=10, images=100, settings=SETTINGS)


def test_the_interrupted_epoch_resumes_at_its_step_and_others_start_at_zero():
    assert BEGUN.first_step(2, 10, 100, SETTINGS) == 3
    assert BEGUN.first_step(3, 10, 90, SETTINGS | {"seed": 2}) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 2}, "seed=2: the interrupted epoch was started with 1; change it after"),
        ({"batch.clusters": 8}, "batch.clusters=8: the interrupted epoch was started with 4"),
        ({"image.height": 32}, "image.height=32: the interrupted epoch was started with 64"),
    ],
)
def test_other_batches_are_refused_within_an_epoch(change, said):
    with pytest.raises(UserError, match=said):
        BEGUN.first_step(2, 10, 100, SETTINGS | change)


def test_settings_may_change_between_epochs():
    for steps in (0, 10):
        begun = InterruptedEpoch(2, steps, 10, 100, SETTINGS)
        assert begun.first_step(2, 10, 100, {"seed": 9}) == steps


def test_a_checkpoint_that_does_not_tell_its_settings_goes_on():
    assert InterruptedEpoch(2, 3, 10, 100).first_step(2, 10, 100, SETTINGS) == 3
