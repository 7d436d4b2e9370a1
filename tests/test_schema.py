"""Settings of another type than those of ``conf/``."""

import pytest

from dccc_lightning.cli.schema import compare
from dccc_lightning.errors import UserError

USUAL = {
    "epochs": 16,
    "loss": {"weight": 1, "smoothing": 0.1, "_target_": "a.b"},
    "compile": False,
    "output": "runs",
    "weights": None,
    "rate": "${loss.smoothing}",
    "trainer": {"devices": 1},
    "callbacks": {"best": {"mode": "max"}},
    "published": {"mAP": 80.0},
}


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 3},
        {"epochs": "${iterations}"},
        {"loss": {"weight": 0.5, "smoothing": 0}},  # a whole number by chance
        {"loss": {"weight": None}},
        {"output": 2024},
        {"weights": "a.pt"},
        {"rate": "anything"},
        {"trainer": {"devices": "auto"}},
        {"callbacks": {"best": None}},
        {"callbacks": {}},
        {"published": None},
        {"more": 1},
    ],
)
def test_what_may_be(given):
    compare(USUAL, USUAL | given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": "ten"}, "epochs=ten: must be a number"),
        ({"epochs": True}, "epochs=true: must be a number"),
        ({"compile": "no"}, "compile=no: must be true or false"),
        ({"compile": 1}, "compile=1: must be true or false"),
        ({"loss": 3}, "loss=3: is a section; set loss.weight, loss.smoothing"),
        ({"loss": None}, "loss=null: is a section; set loss.weight, loss.smoothing"),
        ({"loss": {"weight": [1, 2]}}, r"loss.weight=\[1,2\]: must be a number"),
        ({"trainer": 2}, "trainer=2: is a section; set trainer.devices"),
    ],
)
def test_what_may_not_be(given, said):
    with pytest.raises(UserError, match=f"^{said}$"):
        compare(USUAL, USUAL | given)


@pytest.mark.parametrize("name", ["epochs", "loss", "trainer"])
def test_nothing_at_the_top_may_be_missing(name):
    with pytest.raises(UserError, match=f"^~{name}: cannot be removed$"):
        compare(USUAL, {key: value for key, value in USUAL.items() if key != name})
