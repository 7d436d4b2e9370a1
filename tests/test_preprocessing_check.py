"""task=verify ckpt=FILE: a wrong preprocessing is visible, with identities and without."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dccc_lightning.data.records import Records, Splits
from dccc_lightning.errors import UserError
from dccc_lightning.inference.loading import ForeignFileError, load_embedder
from dccc_lightning.inference.preprocessing_variants import (
    Variant,
    compare_preprocessings,
    effective_dimensions,
    shared_neighbors,
    variants,
    with_uncertainty,
)
from dccc_lightning.metrics.mean_ap_among import precisions_among
from dccc_lightning.models.layout import Layout
from dccc_lightning.tasks.preprocessing_check import Counts, chosen_images, verdict


def test_spread_counts_the_dimensions_that_are_used():
    assert effective_dimensions(torch.eye(4).repeat(50, 1)) == pytest.approx(3, abs=1e-6)
    line = torch.linspace(-1, 1, 9)[:, None] * torch.ones(1, 4)
    assert effective_dimensions(line) == pytest.approx(1)
    assert effective_dimensions(torch.ones(5, 3)) == 0
    wide = torch.randn(6, 40, generator=torch.manual_seed(1))
    assert effective_dimensions(wide) == pytest.approx(effective_dimensions(torch.cat([wide] * 9)))


def test_neighbours_of_flips_are_compared_without_the_image_itself():
    rows = torch.nn.functional.normalize(torch.randn(30, 8, generator=torch.manual_seed(0)), dim=1)
    assert shared_neighbors(rows, rows) == 1
    opposite = shared_neighbors(rows, -rows)
    assert opposite < 0.1


def test_the_network_is_as_before_and_its_own_row_is_its_own_embedding(embedder, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(12):
        pixels = rng.integers(0, 256, (32, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index:02}.png")
    paths = sorted(tmp_path.iterdir())
    before = embedder.embed(paths)
    people = np.arange(12) // 2
    rows = compare_preprocessings(embedder, paths, people, np.full(12, -1))
    assert torch.equal(embedder.embed(paths), before)
    assert [row.in_use for row in rows] == [True] + [False] * (len(rows) - 1)
    assert rows[0].spread == pytest.approx(effective_dimensions(before))
    assert all(row.mean_ap is not None for row in rows)
    assert {(r.normalization, r.colour) for r in rows} == {
        (n, c) for n in ("imagenet", "half", "clip", "none") for c in ("rgb", "bgr")
    }
    unknown = compare_preprocessings(embedder, paths, np.full(12, -1), np.full(12, -1))
    assert all(row.mean_ap is None for row in unknown)


def test_a_network_of_one_size_is_compared_at_that_size():
    network = SimpleNamespace(layout=Layout(), backbone=SimpleNamespace(positions=(2, 1)))
    fixed = SimpleNamespace(network=network, height=32, width=16)
    assert {(row.height, row.width) for row in variants(fixed)} == {(32, 16)}
    network.backbone = SimpleNamespace()
    assert (224, 224) in {(row.height, row.width) for row in variants(fixed)}


def rows(own, **other):
    numbers = {"spread": 9.0, "mean_cosine": 0.1, "flips": 0.8} | own
    return [
        Variant("imagenet", "rgb", 64, 32, in_use=True, **numbers),
        Variant("half", "bgr", 64, 32, **numbers | other),
    ]


ENOUGH = Counts(400, 50, 400)


def test_the_verdict_trusts_identities_and_admits_what_it_cannot_tell():
    said = verdict(rows({"mean_ap": 0.5}, mean_ap=0.6, gain=(-0.01, 0.1, 0.2)), ENOUGH)
    assert "50 identities with 400 queries none ranks better" in said
    said = verdict(rows({"mean_ap": 0.2}, mean_ap=0.5, gain=(0.25, 0.3, 0.35)), ENOUGH)
    assert "half, bgr, 64 x 32 ranks 30.0 points of mAP better" in said
    assert "25.0 to 35.0, by 50 identities" in said
    assert "+model.layout.normalization=half +model.layout.colour=bgr" in said
    unknown = Counts(400, 0, 0)
    said = verdict(rows({}, wider=0.95), unknown)
    assert "no preprocessing has wider embeddings" in said
    assert "says nothing about the order of colours" in said
    assert "half, bgr, 64 x 32 has wider embeddings" in verdict(rows({}, wider=1.0), unknown)


@pytest.mark.parametrize("counts", [Counts(160, 19, 160), Counts(400, 50, 59)])
def test_few_identities_or_queries_give_no_verdict(counts):
    said = verdict(rows({"mean_ap": 0.1}, mean_ap=0.9, gain=(0.7, 0.8, 0.9)), counts)
    assert said.startswith(f"verdict: none, {counts.identities} identities")
    assert "at least 20 identities with 60 images" in said
    assert "59 images without identities are too few" in verdict(
        rows({}, wider=1.0), Counts(59, 0, 0)
    )


def test_queries_are_images_with_a_match_under_another_camera():
    people = np.array([0, 0, 1, 1, 2, 2, -1, -1])
    cameras = np.array([0, 0, 0, 1, -1, -1, 0, 1])
    held = Records(tuple(map(Path, "abcdefgh")), people, cameras)
    assert Counts.of(held) == Counts(8, 2, 4)
    found = precisions_among(torch.eye(8), people, cameras)
    assert np.isnan(found).tolist() == [True, True, False, False, False, False, True, True]


def test_differences_by_chance_are_rarely_called_better():
    """Of rows that are noise on the same embeddings, few are better beyond chance."""
    people, called = np.repeat(np.arange(20), 4), 0
    nowhere = np.full(80, -1)
    for seed in range(20):
        torch.manual_seed(seed)
        centres = torch.randn(20, 16).repeat_interleave(4, dim=0) + torch.randn(80, 16)
        noisy = [torch.nn.functional.normalize(centres + torch.randn(80, 16), dim=1) for _ in "123"]
        found = with_uncertainty(rows({}) + rows({})[1:], noisy, people, nowhere)
        called += any(row.gain is not None and row.gain[0] > 0 for row in found)
        assert found[0].gain is None
    assert called <= 3
    better = [noisy[0], torch.nn.functional.normalize(centres, dim=1)]
    assert with_uncertainty(rows({}), better, people, nowhere)[1].gain[0] > 0


def records(identities):
    paths = tuple(Path(f"{i}.png") for i in range(len(identities)))
    identities = np.array(identities, dtype=np.int64)
    return Records(paths, identities, np.zeros(len(paths), dtype=np.int64))


def test_images_of_whole_identities_are_chosen_where_there_are_some():
    few, none = records([-1] * 900), records([])
    test = chosen_images(Splits("a", Path(), few, records(range(200)), records([*range(200)] * 9)))
    counts = np.unique(test.identities, return_counts=True)[1]
    assert len(test) <= 400
    assert set(counts.tolist()) == {8}
    assert len(chosen_images(Splits("a", Path(), few, none, none))) == 400
    with pytest.raises(UserError, match="3 images are too few"):
        chosen_images(Splits("a", Path(), records([-1] * 3), none, none))


@pytest.fixture
def foreign(tmp_path):
    """The package's weights by the names of FastReID 0.1."""
    state = load_embedder("bundled", device="cpu").network.state_dict()
    renamed = {name.replace("neck.", "heads.bnneck."): value for name, value in state.items()}
    path = tmp_path / "theirs.pth"
    torch.save({"model": renamed}, path)
    return path


def test_a_file_of_another_repository_is_named_as_such(foreign):
    with pytest.raises(ForeignFileError, match="has no description of its network"):
        load_embedder(foreign)


@pytest.mark.slow
def test_verify_shows_a_wrong_mean_and_the_remedy_works(command, tiny, foreign):
    place = [
        "task=verify", f"ckpt={foreign}", "model=resnet10", "model.width=0.5", *tiny,
        "image.height=64", "image.width=32", "dataset.test_identities=24",
    ]  # fmt: skip
    wrong = command(*place, "+model.layout.normalization=none", "output=wrong")
    assert wrong.code == 0, wrong.err
    assert "a file of another repository" in wrong.out
    found = json.loads(Path("wrong/verify.json").read_text())["preprocessing"]
    assert found["in_use"]["mean"] == [0, 0, 0]
    assert "points of mAP better than the preprocessing in use" in found["verdict"]
    scores = {tuple(row[k] for k in ("normalization", "colour", "height")): row["mean_ap"]
              for row in found["variants"]}  # fmt: skip
    assert scores["imagenet", "rgb", 64] > scores["none", "rgb", 64] + 0.02
    right = command(
        *place, "+model.layout.normalization=imagenet", "+model.layout.colour=rgb", "output=right"
    )
    assert right.code == 0, right.err
    found = json.loads(Path("right/verify.json").read_text())["preprocessing"]
    assert found["in_use"]["mean"] == [0.485, 0.456, 0.406]
    own = found["variants"][0]
    assert (own["in_use"], own["mean_ap"]) == (True, scores["imagenet", "rgb", 64])
