"""Arguments of Lightning's trainer that would cut epochs or evaluations."""

import pytest

from dccc_lightning.config.trainer_checks import _check_limits
from dccc_lightning.errors import UserError


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("fast_dev_run", True, "epochs=1 iterations=1"),
        ("fast_dev_run", 3, "epochs=1 iterations=1"),
        ("limit_train_batches", 1, "iterations="),
        ("limit_train_batches", 0.5, "iterations="),
        ("overfit_batches", 1, "iterations="),
        ("max_steps", 10, "epochs="),
        ("max_time", "00:01:00:00", "epochs="),
        ("limit_val_batches", 1, "eval_every="),
        ("limit_val_batches", 0.5, "eval_every="),
        ("limit_test_batches", 1, "eval_every="),
        ("val_check_interval", 0.5, "eval_every="),
        ("check_val_every_n_epoch", 3, "eval_every="),
    ],
)
def test_what_would_cut_an_epoch_or_an_evaluation_is_refused(name, value, remedy):
    with pytest.raises(UserError, match=f"trainer.{name}={str(value).lower()}: .*{remedy}"):
        _check_limits({name: value})


def test_values_without_effect_and_no_evaluation_at_all_are_taken():
    _check_limits(
        {"fast_dev_run": False, "limit_train_batches": 1.0, "overfit_batches": 0.0,
         "max_steps": -1, "max_time": None, "val_check_interval": 1.0, "limit_val_batches": 0}
    )  # fmt: skip
    _check_limits({"limit_val_batches": 0.0, "check_val_every_n_epoch": 1, "max_epochs": 3})
