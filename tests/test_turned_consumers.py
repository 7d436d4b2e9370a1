"""Images that turn in what takes embeddings: boards, panels, scores, thresholds, tasks and runs."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageEnhance
from torch.nn import functional as F

from dccc_lightning import GalleryIndex, load_embedder
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.common.turning_ranges import ALIGNED
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.data.audit.image_sizes import proposed_size, sizes_of
from dccc_lightning.data.audit.inspection import Inspection
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.data.synthetic.overhead import overhead_animals
from dccc_lightning.errors import UserError
from dccc_lightning.inference import preprocessing_variants
from dccc_lightning.metrics.mean_ap_among import mean_ap_among
from dccc_lightning.metrics.protocol_scores import evaluate_protocol
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.neighbors import aligned_similarity, knn
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.neighbors.turned_rows import to_rows
from dccc_lightning.reports import make_panels
from dccc_lightning.reports.boards import ranking_board
from dccc_lightning.reports.boards.ranking_board import Split, ranking_rows
from dccc_lightning.reports.make_panels import Clustered, Evaluated
from dccc_lightning.tasks.export import _mean_ap
from dccc_lightning.tasks.identify_rule import rule_of
from dccc_lightning.tasks.preprocessing_check import check_preprocessing

PEOPLE = np.arange(40) % 5


def records(identities, names=None):
    named = names or [Path(f"{n}.png") for n in range(len(identities))]
    rows = zip(named, identities.tolist(), (np.arange(len(identities)) % 3).tolist(), strict=True)
    return Records.from_rows(list(rows))


def turned(identities=PEOPLE, seed=0, dim=12):
    """Embeddings (N, 4, D) of animals, each image at a random turn."""
    generator = torch.Generator().manual_seed(seed)
    animals = torch.randn(5, 4, dim, generator=torch.Generator().manual_seed(9))
    noise = torch.randn(len(identities), 4, dim, generator=generator)
    rows = F.normalize(animals[identities] + 0.6 * noise, dim=2)
    turns = torch.randint(4, (len(rows),), generator=generator).tolist()
    return torch.stack([row.roll(turn, 0) for row, turn in zip(rows, turns, strict=True)])


def again(rows):
    """The same images, turned."""
    return torch.stack([row.roll(n % 4, 0) for n, row in enumerate(rows)])


# Boards and panels


def test_a_board_of_rankings_is_that_of_aligned_ranks(monkeypatch):
    calls = []

    def counted(a, b):
        calls.append(len(a))
        return aligned_similarity(a, b)

    monkeypatch.setattr(ranking_board, "aligned_similarity", counted)
    query, gallery = turned(PEOPLE[:10], 1).numpy(), turned().numpy()
    split = Split(query, records(PEOPLE[:10])), Split(gallery, records(PEOPLE))
    rows = ranking_rows(*split)
    assert calls == [10]  # the spectrum of the gallery is made once, not for each query
    each = [np.einsum("qsd,gsd->qg", query, np.roll(gallery, -r, 1)) / 4 for r in range(4)]
    expected = np.stack(each).max(axis=0)
    assert len(rows) == ranking_board.QUERIES
    for row in rows:
        at = int(row.tiles[0].key.rpartition("/")[2])
        kept = (at % 5 != PEOPLE) | (np.arange(40) % 3 != at % 3)
        order = [n for n in np.argsort(-expected[at], kind="stable") if kept[n]]
        assert [tile.key for tile in row.tiles[1:]] == [f"gallery/{n}" for n in order[:10]]
        for tile, n in zip(row.tiles[1:], order, strict=False):
            assert tile.caption.startswith(f"{expected[at, n]:.3f}\n")
        places = np.flatnonzero(PEOPLE[order] == at % 5) + 1
        precision = np.mean(np.arange(1, len(places) + 1) / places)
        assert row.title == f"average precision {precision:.1%}"
    turned_again = (Split(again(torch.from_numpy(part.rows)).numpy(), part.records)
                    for part in split)  # fmt: skip
    assert ranking_rows(*turned_again) == rows


@pytest.mark.parametrize("centers", [False, True])
def test_panels_are_those_of_aligned_embeddings(centers, recwarn):
    def made(turn):
        train, query, gallery = map(turn, (turned(), turned(PEOPLE[:10], 1), turned(seed=2)))
        found = Clustered(
            UnitEmbeddings.of_turns(train), PEOPLE.copy(), None, 0.5, records(PEOPLE),
            PseudoLabeler(8, 3),
        )  # fmt: skip
        evaluated = Evaluated(
            UnitEmbeddings.of_turns(query) if turn is again else query,
            UnitEmbeddings.of_turns(gallery) if turn is again else gallery,
            records(PEOPLE[:10]), records(PEOPLE), "student", centers,
        )  # fmt: skip
        panels = make_panels.make_panels(found, evaluated, lambda _, indices, height: np.zeros(
            (len(indices), height, height, 3), dtype=np.uint8))  # fmt: skip
        return {panel.name: panel.data for panel in panels}

    one, other = made(lambda rows: rows), made(again)
    assert not [w for w in recwarn if "panel" in str(w.message)]
    assert {"rankings", "distances", "clusters/tightest"} <= one.keys() == other.keys()
    for name in ("rankings", "distances"):
        assert one[name] == other[name]


# Scores of embeddings that are normalised already


def test_unit_embeddings_are_scored_aligned():
    query, gallery = turned(PEOPLE[:10], 1), turned()
    cameras = np.arange(40) % 3
    sides = (query, PEOPLE[:10], cameras[:10], gallery, PEOPLE, cameras)
    expected = evaluate_retrieval(*sides)
    unit = [UnitEmbeddings.of_turns(part) if part is query or part is gallery else part
            for part in sides]  # fmt: skip
    assert evaluate_retrieval(*unit) == expected
    means = [part.rows if isinstance(part, UnitEmbeddings) else part for part in unit]
    assert evaluate_retrieval(*means) != expected
    metric = ReIDRetrieval()
    for part, is_query in ((unit[:3], True), (unit[3:], False)):
        metric.update(*part, np.full(len(part[1]), is_query))
    assert metric.compute() == expected
    labels, at = {"identity": PEOPLE, "camera": cameras}, np.arange(40)
    for protocol in ("market1501", "leave_one_out"):
        scores = [
            evaluate_protocol(protocol, rows, labels, at[:10], at[10:])
            for rows in (gallery, UnitEmbeddings.of_turns(gallery))
        ]
        assert scores[0] == scores[1]
    np.testing.assert_array_equal(knn(UnitEmbeddings.of_turns(gallery), 4)[1], knn(gallery, 4)[1])


def test_the_precision_of_an_export_is_that_of_aligned_ranks():
    rows, labels = turned(), (PEOPLE, np.arange(40) % 3, np.full(40, -1))
    expected = mean_ap_among(rows, *labels)
    assert expected == mean_ap_among(again(rows), *labels)
    found = [_mean_ap(to_rows(part).numpy(), labels, f"x{ALIGNED}") for part in (rows, again(rows))]
    assert found == [expected, expected]
    assert expected > mean_ap_among(to_rows(rows), *labels)


# Thresholds


def test_a_threshold_of_aligned_scores_is_refused_before_images_are_embedded(tmp_path):
    path = tmp_path / "calibration.json"
    rates = {"value": 0.01, "low": 0.0, "high": 0.02}
    own: Settings = {"threshold": str(path), "k1": None, "k2": None, "camera": None,
                     "clustering": {}}  # fmt: skip
    for fingerprint in ("0123456789abcdef", f"0123456789abcdef{ALIGNED}"):
        content = {"threshold": 0.5, "fingerprint": fingerprint, "false_match": rates}
        path.write_text(json.dumps(content))
        if not fingerprint.endswith(ALIGNED):
            assert rule_of(own).arguments["distance"] == "cosine"
            continue
        with pytest.raises(UserError, match=r"embedding\.match=mean, or choose threshold=auto"):
            rule_of(own)


# task=verify


@pytest.mark.parametrize("turns", [True, False])
def test_verify_tells_whether_images_turn(turns, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(preprocessing_variants, "SIZES", ())
    images, animals = overhead_animals(individuals=6, views=3, seed=1)
    if not turns:  # one view in eighteen lights
        images = [ImageEnhance.Brightness(images[0]).enhance(0.6 + 0.05 * n) for n in range(18)]
    paths = [tmp_path / f"{n:02}.png" for n in range(18)]
    for n, (path, image) in enumerate(zip(paths, images, strict=True)):
        image.resize((48 + n, 48)).save(path)
    none = records(animals[:0], [])
    splits = Splits("cows", tmp_path, none, records(animals[:6], paths[:6]),
                    records(animals[6:], paths[6:]))  # fmt: skip
    own: Settings = {
        "ckpt": "bundled", "network": "auto", "model": {"backbone": "resnet50", "weights": None},
        "loader": {"eval_batch_size": 32}, "embedding": {"rotations": 4, "match": "aligned"},
    }  # fmt: skip
    found = check_preprocessing(own, splits)
    assert found["in_use"]["rotations"] == 1  # the turns are compared, not averaged
    expected = "the images turn, try subject=overhead" if turns else "keep subject=upright"
    sentence = found["orientation"]["sentence"]
    assert sentence.endswith(expected)
    assert sentence[:40] in " ".join(capsys.readouterr().out.split())
    assert found["orientation"]["images"] == 18


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.sampled_from([(256, 128), (224, 224), (128, 64), (64, 32), (32, 32), (1, 1)]),
)
def test_a_proposed_size_is_not_proposed_again(size, use):
    found = proposed_size(sizes_of([Inspection(None, size=size)]), *use)
    if found is not None:
        assert found != use
        assert 0.5 <= math.prod(found) / math.prod(use) <= 2
        assert proposed_size(sizes_of([Inspection(None, size=size)]), *found) is None


def test_verify_proposes_a_size_that_suits_it(command, monkeypatch, tmp_path):
    monkeypatch.setattr(preprocessing_variants, "SIZES", ())
    images, animals = overhead_animals(individuals=12, views=2, seed=1)
    for n, (image, animal) in enumerate(zip(images, animals.tolist(), strict=True)):
        path = tmp_path / "cows" / str(animal) / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.resize((60, 30)).save(path)
    place = ["task=verify", "dataset=folder", f"dataset.root={tmp_path / 'cows'}"]
    place += ["dataset.pattern='(?P<identity>[0-9]+)/'"]
    first = command(*place, "ckpt=bundled", "output=first")
    assert first.code == 0, first.err
    said = " ".join(first.out.split())
    saved = json.loads(Path("first/verify.json").read_text())
    assert saved["preprocessing"]["orientation"]["sentence"] in said
    assert "that of 256 x 128 is 2.00: try image.height=128 image.width=256, or image.fit" in said
    for remedy in (["image.height=128", "image.width=256"], ["image.fit=pad"]):
        assert "image size:" not in command(*place, *remedy, f"output={remedy[0]}").out


# Runs and checkpoints that know nothing of it


def older(folder, path):
    """Take the settings away that runs saved before do not have."""
    saved = yaml.safe_load((folder / path).read_text())
    saved.pop("embedding")
    saved["image"].pop("fit")
    saved["augmentation"].pop("rotate")
    for name in ("most_per_identity", "drop_duplicates"):
        saved["evaluate"].pop(name)
    (folder / path).write_text(yaml.safe_dump(saved, sort_keys=False))


def test_a_run_without_these_settings_resumes_as_it_was(command, monkeypatch, tmp_path):
    started = []

    def train(settings, output):
        (output / "metrics.csv").write_text("epoch\n0\n")
        started.append(settings)
        return {}

    monkeypatch.setattr("dccc_lightning.tasks.train.train", train)
    assert command("trainer=cpu", "epochs=4", "output=run").code == 0
    folder = tmp_path / "run"
    for path in ("config.yaml", ".hydra/config.yaml"):
        older(folder, path)
    hydra = folder / ".hydra" / "hydra.yaml"
    saved = yaml.safe_load(hydra.read_text())
    assert saved["hydra"]["runtime"]["choices"].pop("subject") == "upright"
    hydra.write_text(yaml.safe_dump(saved))
    outcome = command("resume=run")
    assert outcome.code == 0, outcome.err
    assert "changed" not in outcome.out
    for name in ("embedding", "image", "augmentation", "evaluate"):
        assert started[1][name] == started[0][name]
    older(folder, "config.yaml")
    outcome = command("resume=run", "image.fit=pad")
    assert "changed: image.fit stretch -> pad" in outcome.out
    assert started[2]["image"]["fit"] == "pad"


@pytest.mark.parametrize("embedding", [None, {"rotations": None, "match": None}])
def test_a_checkpoint_without_a_description_is_that_of_upright_images(embedding, tmp_path):
    model = {"backbone": "resnet10", "width": 0.25}
    network = build_embedder(**model, weights=None)
    settings = {
        "model": {"_target_": "dccc_lightning.models.embedder.build_embedder", **model},
        "image": {"height": 32, "width": 16}, "dataset": {"name": "market1501"},
    } | ({} if embedding is None else {"embedding": embedding})  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    torch.save({"state_dict": network.state_dict()}, tmp_path / "weights.pt")
    embedder = load_embedder(tmp_path)
    assert (embedder.rotations, embedder.match, embedder.fit) == (1, "mean", "stretch")
    assert len(embedder.fingerprint) == 16
    # A gallery that was built before does not say how its images were turned.
    image = overhead_animals(1, 1)[0][0]
    gallery = GalleryIndex.build(embedder.rows(image), ["a"], fingerprint=embedder.fingerprint)
    new = {"rotations", "match", "fit"}
    gallery.preprocessing = {k: v for k, v in embedder.preprocessing.items() if k not in new}
    gallery.check_fingerprint(embedder.fingerprint, embedder.preprocessing)
    other = load_embedder(tmp_path, rotations=4)
    with pytest.raises(UserError, match="build the gallery anew"):
        gallery.check_fingerprint(other.fingerprint, other.preprocessing)


# All tasks, one after the other


@pytest.mark.slow
def test_tasks_follow_the_run_that_was_trained_for_images_that_turn(command, tiny):
    kept = [a for a in tiny if not a.startswith(("image.width", "dataset.train_", "epochs"))]
    world = [*kept, "dataset.train_identities=12"]
    network = ["model=resnet10", "model.width=0.25", "model.weights=null"]

    def did(*arguments, code=0):
        outcome = command(*arguments, *world)
        assert outcome.code == code, outcome.err
        return outcome.err if code else outcome.out

    def results(path):
        return json.loads(Path(path).read_text())

    did("subject=overhead", "epochs=1", *network, "output=run")
    trained = results("run/results.json")
    own = yaml.safe_load(Path("run/config.yaml").read_text())
    assert own["image"]["width"] == own["image"]["height"] == 32
    did("task=evaluate", "ckpt=run", "network=student", "rerank=true", "output=evaluated")
    found = results("evaluated/results.json")
    (about,) = found["checkpoints"].values()
    assert (about["rotations"], about["match"]) == (4, "aligned")
    ((scores,),) = ([*row.values()] for row in found["scores"].values())
    assert scores["cosine"]["mAP"] == pytest.approx(trained["student"]["mAP"], abs=0.01)
    assert "reranked" in scores
    said = did("task=evaluate", "ckpt=run", "rerank=ca_jaccard", "output=refused", code=2)
    assert "match=mean" in said

    did("task=index", "ckpt=run", "input=[query,gallery]", "index=g", "output=indexed")
    gallery = GalleryIndex.load("g")
    embedder = load_embedder("run")
    assert gallery.feature_dim == embedder.row_dim == 4 * embedder.feature_dim
    did("task=calibrate", "index=g", "false_match_rate=0.05", "output=calibrated")
    least = "minimum_score=calibrated/calibration.json"
    did("task=search", "ckpt=run", "index=g", "query=query", least, "output=searched")
    hits = results("searched/results.json")["queries"][0]["hits"]
    assert all(h["score"] >= results("calibrated/calibration.json")["threshold"] for h in hits)
    said = did("task=search", "ckpt=run", "index=g", "query=query", "embedding.match=mean", code=2)
    assert "match aligned, not mean" in said
    said = did("task=identify", "index=g", "threshold=calibrated/calibration.json", code=2)
    assert "embedding.match=mean" in said
    did("task=identify", "index=g", "output=identified")
    assert results("identified/identities.json")["fingerprint"] == embedder.fingerprint

    did("task=export", "ckpt=run", "format=pt2", "images=12", "output=exported")
    facts = results("exported/export.json")
    assert facts["feature_dim"] == embedder.row_dim
    assert facts["preprocessing"]["match"] == "aligned"
    assert facts["mAP"]["model.pt2"] == pytest.approx(facts["mAP"]["module"], abs=1e-6)
    card = Path("exported/MODEL_CARD.md").read_text()
    assert "The similarity of two images is the largest of four products" in " ".join(card.split())
    assert "rotations: 4" in card
