"""Queries without a match are counted and named; a run keeps which network was its better one."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.data.datasets.official_counts import Counts, Facts
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.errors import UserError
from dccc_lightning.losses import SoftContrastiveLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.metrics.queries import check_queries, has_match, seen_by_one_camera
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.module import DCCCModule
from dccc_lightning.training.optimization import Optimization
from test_module import DIM, make_embedder


def records(*rows):
    return Records.from_rows([(Path(f"{i}.jpg"), *row) for i, row in enumerate(rows)])


def splits(query, gallery, train=()):
    return Splits("mine", Path("crops"), records(*train), records(*query), records(*gallery))


labelled = st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 2)), min_size=1, max_size=8)


@given(labelled, labelled)
@settings(max_examples=60, deadline=None)
def test_a_query_has_a_match_as_in_the_evaluation(query, gallery):
    found = has_match(records(*query), records(*gallery))
    everything = records(*gallery)
    for (identity, camera), matched in zip(query, found, strict=True):
        one = np.eye(2)[:1], np.array([identity]), np.array([camera])
        rows = np.tile(one[0], (len(gallery), 1)), everything.identities, everything.cameras
        if matched:
            evaluate_retrieval(*one, *rows)
        else:
            with pytest.raises(ValueError, match="no valid query"):
                evaluate_retrieval(*one, *rows)


def test_what_is_left_out_is_counted_and_said(caplog):
    query = [(1, 0), (2, 0), (3, 0), (4, 0)]
    assert check_queries(splits(query, [(i, 1) for i in (1, 2, 3, 4)])) == 4
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert check_queries(splits(query, [(1, 1), (2, 0), (3, 1), (9, 1)])) == 2
    (record,) = caplog.records
    assert "2 of 4 queries have no match in the gallery and do not count" in record.getMessage()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (splits([], [], [(1, 0), (1, 0), (2, 3)]), "each of the 2 identities in crops was seen by"),
        (splits([(1, 0)], [(1, 0), (2, 1)]), "each of the 2 identities in crops was seen by one"),
        (splits([(1, 0)], [(2, 1), (2, 0)]), "none of 1 queries in crops has a match"),
        (splits([], [(2, 1), (2, 0)]), "no query images in crops, so nothing to evaluate on"),
        (splits([(2, 1), (2, 0)], []), "no gallery images in crops, so nothing to evaluate on"),
        (splits([], [], [(1, -1)]), "no query images in crops, so nothing to evaluate on"),
        (splits([], [], [(-1, 0)]), "no query images in crops, so nothing to evaluate on"),
    ],
)
def test_where_no_query_can_be_scored_the_reason_is_said(found, message):
    with pytest.raises(UserError, match=message):
        check_queries(found)


def test_without_cameras_the_same_images_can_be_evaluated():
    """What the message advises where every identity was seen by one camera alone."""
    one_camera, none = [(1, 0), (2, 1)], [(1, -1), (2, -1)]
    assert seen_by_one_camera(splits(one_camera, one_camera))
    assert check_queries(splits(none, none)) == 2


def test_official_sizes_are_those_of_all_three_splits():
    facts = Facts(train=Counts(images=1), query=Counts(images=2), gallery=Counts(images=3))
    found = splits([(1, 0)] * 2, [(1, 1)] * 3, [(2, 0)])
    assert facts.has_official_sizes(found)
    assert not facts.has_official_sizes(splits([(1, 0)], [(1, 1)] * 3, [(2, 0)]))
    assert not Facts().has_official_sizes(found)


@pytest.mark.parametrize(("student", "teacher"), [(0.5, 0.4), (0.4, 0.5), (0.5, 0.5)])
def test_a_checkpoint_says_which_network_was_the_better(student, teacher):
    module = DCCCModule(
        make_embedder(), ClusterMemory(DIM, 0.1, 0.05), SoftContrastiveLoss(0.3), Optimization()
    )
    module.log_dict = lambda *_, **__: None
    content = {}
    module.on_save_checkpoint(content)
    assert "network" not in content["dccc_lightning"]
    values = {"val": student, "val_teacher": teacher}
    for validating, told in ((True, False), (False, True)):
        module.retrieval = {
            name: SimpleNamespace(
                compute=lambda value=value: {"mAP": torch.tensor(value)}, collapsed=False
            )
            for name, value in values.items()
        }
        state = SimpleNamespace(fn="validate" if validating else "fit")
        module._trainer = SimpleNamespace(state=state)
        module.on_validation_epoch_end()
        module.on_save_checkpoint(content)
        assert ("network" in content["dccc_lightning"]) is told  # not of the one before training
    assert content["dccc_lightning"]["network"] == ("teacher" if teacher > student else "student")
    module.better = None
    module.on_load_checkpoint(content)
    again = {}
    module.on_save_checkpoint(again)
    assert again == content
