"""Ranks of all images of one set, from half of the products."""

import numpy as np
import pytest
import torch

from dccc_lightning.metrics import one_set_ranks
from dccc_lightning.metrics.gallery_matches import Gallery
from dccc_lightning.metrics.one_set_ranks import matches_in_one_set
from dccc_lightning.metrics.protocols import PROTOCOLS
from dccc_lightning.metrics.retrieval_scores import Labelled, measure


def images(n=600, dim=512, people=30, seed=0):
    """Return embeddings of small integers, whose products are exact and often equal."""
    rng = np.random.default_rng(seed)
    labels = {
        "identity": rng.integers(-1, people, n),
        "camera": rng.integers(-1, 4, n),
        "tracklet": rng.integers(-1, 3, n),
        "image": np.arange(n),
    }
    features = rng.integers(-1, 2, (n, dim)).astype(np.float32)
    return Labelled(torch.from_numpy(features), {k: torch.from_numpy(v) for k, v in labels.items()})


@pytest.mark.parametrize("name", ["leave_one_out", "market1501", "other_tracklet"])
def test_half_of_the_products_give_the_ranks_of_all(name):
    found = images()
    halved = measure(found, found, PROTOCOLS[name])
    whole = measure(Labelled(found.features, found.labels), found, PROTOCOLS[name])
    for key in ("queries", "first", "precision", "oxford", "inverse_penalty"):
        assert torch.equal(getattr(halved, key), getattr(whole, key)), key
    assert (
        matches_in_one_set(found.features, Gallery(found.labels, PROTOCOLS[name]), 128) is not None
    )


def test_equal_embeddings_rank_by_position():
    found = images(300)
    same = torch.nn.functional.normalize(torch.rand(1, 512), dim=1).expand(300, -1)
    one = Labelled(same.contiguous(), found.labels)
    rules = PROTOCOLS["leave_one_out"]
    halved, whole = measure(one, one, rules), measure(Labelled(same, one.labels), one, rules)
    assert torch.equal(halved.first, whole.first)
    assert torch.equal(halved.precision, whole.precision)


def test_embeddings_near_each_other_are_compared_about_their_mean():
    found = images(300)
    near = torch.nn.functional.normalize(1 + found.features.double() / 4096, dim=1)
    one = Labelled(near.float(), found.labels)
    rules = PROTOCOLS["leave_one_out"]
    halved = measure(one, one, rules)
    whole = measure(Labelled(one.features, one.labels), one, rules)
    assert (halved.precision - whole.precision).abs().max() < 0.02
    assert (halved.precision - whole.precision).abs().mean() < 1e-3


@pytest.mark.parametrize("name", ["cuhk03_classic", "cross_modality", "llcm", "sysu_all_search"])
def test_protocols_that_need_all_scores_have_them(name):
    found = images(50)
    assert matches_in_one_set(found.features, Gallery(found.labels, PROTOCOLS[name]), 128) is None


def test_pairs_of_one_identity_take_linear_memory(monkeypatch):
    monkeypatch.setattr(one_set_ranks, "_LEAST_BYTES", 0)
    found = images(people=1)
    rules = PROTOCOLS["leave_one_out"]
    assert matches_in_one_set(found.features, Gallery(found.labels, rules), 128) is None
    assert len(measure(found, found, rules).queries)
