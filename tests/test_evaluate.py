"""task=evaluate: trained networks on datasets, one cell or a matrix."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from dccc_lightning.config.build import build_plain
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.errors import UserError
from dccc_lightning.inference import evaluation
from dccc_lightning.inference.evaluation import EvaluationOptions, evaluate_networks
from dccc_lightning.metrics.queries import count_queries
from dccc_lightning.metrics.reranking import CameraRerank, Rerank
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.reports.score_matrix import ScoreMatrix
from dccc_lightning.tasks.evaluate import evaluate


class Columns:
    """Embeds an image by the mean of each of its columns: a mirror image embeds differently."""

    device = torch.device("cpu")
    origin = SimpleNamespace(network="columns", path="this test")

    interpolation = "bicubic"
    rotations, fit = 1, "stretch"

    def __init__(self, height=8, width=4):
        self.height, self.width = height, width

    def embed(self, pixels, batch_size):
        assert pixels.dtype == torch.uint8
        assert pixels.shape[1:] == (3, self.height, self.width)
        return F.normalize(pixels.float().mean(dim=2).flatten(1) - 100, dim=1)


@pytest.fixture
def splits(tmp_path):
    """Nine people under three cameras, noisy stripes; a query in two cameras each."""
    rng = np.random.default_rng(0)
    rows = {"query": [], "gallery": []}
    for person in range(9):
        base = rng.integers(90, 166, (1, 4, 3))
        for shot, camera in enumerate((0, 1, 2, 2)):
            noise = rng.normal(0, 60, (8, 4, 3))
            path = tmp_path / f"{person}_{shot}.png"
            Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8)).save(path)
            rows["gallery" if camera == 2 else "query"].append((path, person, camera))
    empty = Records.from_rows([])
    return Splits("stripes", tmp_path, empty, *(Records.from_rows(r) for r in rows.values()))


def pixels_of(records):
    images = [np.asarray(Image.open(path)) for path in records.paths]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def reference(splits, flip=False, rerank=None, ap="non_interpolated"):
    """Embed and rank without batches."""

    def features(records):
        pixels = pixels_of(records)
        found = Columns().embed(pixels, len(pixels))
        return (found + Columns().embed(pixels.flip(3), len(pixels))) / 2 if flip else found

    sides = [
        (features(records), records.identities, records.cameras)
        for records in (splits.query, splits.gallery)
    ]
    return {
        name: float(value)
        for name, value in evaluate_retrieval(*sides[0], *sides[1], ap=ap, rerank=rerank).items()
    }


class TestEvaluation:
    @pytest.mark.parametrize("flip", [False, True])
    def test_scores_are_those_of_the_embeddings(self, splits, flip):
        (found,), _ = evaluate_networks(
            [Columns()], splits, EvaluationOptions(flip=flip), batch_size=4
        )
        expected = reference(splits, flip)
        assert {k: v for k, v in found["cosine"].items() if k != "mAP_oxford"} == pytest.approx(
            expected
        )
        oxford = reference(splits, flip, ap="oxford")["mAP"]
        assert found["cosine"]["mAP_oxford"] == pytest.approx(oxford)
        assert oxford < expected["mAP"] < 1
        assert list(found) == ["cosine"]

    def test_the_mirror_image_makes_a_difference(self, splits):
        assert reference(splits, flip=True) != reference(splits, flip=False)

    @pytest.mark.slow
    def test_scores_reranked_by_camera_come_beside(self, splits):
        rerank = CameraRerank(1, 2, 1, 1)
        (found,), _ = evaluate_networks([Columns()], splits, EvaluationOptions(rerank=rerank))
        assert list(found) == ["cosine", "ca_reranked"]
        assert found["ca_reranked"]["mAP"] == pytest.approx(reference(splits, rerank=rerank)["mAP"])
        assert found["ca_reranked"] != found["cosine"]

    @pytest.mark.parametrize(
        ("rerank", "expected"),
        [
            (Rerank(k1=500), "reranking.k1 must be at most"),
            (CameraRerank(k1_intra=500), "ca_reranking.k1_intra must be at most"),
            (CameraRerank(1, 500), "ca_reranking.k1_inter must be at most"),
            (CameraRerank(1, 2, 500), "ca_reranking.k2_intra must be at most"),
            (CameraRerank(1, 2, 1, 500), "ca_reranking.k2_inter must be at most"),
        ],
    )
    def test_too_few_images_are_named_before_any_is_embedded(self, splits, rerank, expected):
        with pytest.raises(UserError, match=expected):
            evaluate_networks([object()], splits, EvaluationOptions(rerank=rerank))

    def test_reranked_scores_come_beside(self, splits):
        rerank = Rerank(k1=4, k2=2)
        (found,), _ = evaluate_networks([Columns()], splits, EvaluationOptions(rerank=rerank))
        assert found["cosine"]["mAP"] == pytest.approx(reference(splits)["mAP"])
        assert found["reranked"]["mAP"] == pytest.approx(reference(splits, rerank=rerank)["mAP"])
        assert found["reranked"] != found["cosine"]

    def test_networks_of_one_size_share_the_decoding(self, splits, monkeypatch):
        calls = []
        real = evaluation.decoded_batches

        def spy(paths, *rest):
            calls.append((len(paths), *rest[:2], rest[4]))
            return real(paths, *rest)

        monkeypatch.setattr(evaluation, "decoded_batches", spy)
        networks = [Columns(), Columns(16, 4), Columns(), Columns()]
        networks[3].interpolation = "bilinear"  # another filter is decoded apart
        found, _ = evaluate_networks(networks, splits, EvaluationOptions())
        kinds = [(18, 8, 4, "bicubic"), (18, 8, 4, "bilinear"), (18, 16, 4, "bicubic")]
        assert sorted(calls) == sorted(kinds * 2)
        assert found[0] == found[2] != found[1]

    def test_an_unreadable_image_ends_it_or_is_left_out(self, splits, caplog):
        expected, _ = evaluate_networks([Columns()], splits, EvaluationOptions())
        bad = splits.root / "bad.png"
        bad.write_bytes(b"no image")
        query = Records.from_rows(
            [(bad, 3, 0), *zip(splits.query.paths, splits.query.identities.tolist(),
                               splits.query.cameras.tolist(), strict=True)]
        )  # fmt: skip
        broken = Splits("stripes", splits.root, splits.train, query, splits.gallery)
        with pytest.raises(UserError, match=r"bad\.png.*dataset\.on_error=skip"):
            evaluate_networks([Columns()], broken, EvaluationOptions())
        found, read = evaluate_networks(
            [Columns()], broken, EvaluationOptions(), skip_unreadable=True
        )
        assert found == expected
        assert "1 unreadable query images skipped" in caplog.text
        assert (len(read.query), len(read.gallery)) == (len(splits.query), len(splits.gallery))

    def test_queries_whose_only_match_cannot_be_read_are_said(self, splits, caplog):
        is_match = splits.gallery.identities == splits.query.identities[0]
        bad = splits.root / "bad.png"
        bad.write_bytes(b"no image")
        paths = [bad if hit else p for p, hit in zip(splits.gallery.paths, is_match, strict=True)]
        gallery = replace(splits.gallery, paths=tuple(paths))
        broken = replace(splits, gallery=gallery)
        _, read = evaluate_networks([Columns()], broken, EvaluationOptions(), skip_unreadable=True)
        lost = int((splits.query.identities == splits.query.identities[0]).sum())
        assert f"{lost} of {len(splits.query)} queries have no match" in caplog.text
        assert count_queries(read)["scored_queries"] == len(splits.query) - lost

    def test_nothing_readable_and_nothing_at_all_are_refused(self, splits):
        (splits.root / "bad.png").write_bytes(b"")
        bad = Records.from_rows([(splits.root / "bad.png", 1, 1)])
        empty = Records.from_rows([])
        for query, message in ((bad, "none of the query"), (empty, "no query images in ")):
            with pytest.raises(UserError, match=message):
                evaluate_networks(
                    [Columns()],
                    Splits("x", splits.root, empty, query, splits.gallery),
                    EvaluationOptions(),
                    skip_unreadable=True,
                )

    def test_a_ranking_that_cannot_be_is_one_line(self, splits):
        with pytest.raises(UserError, match=r"stripes: reranking\.k1 must be at most 35 with"):
            evaluate_networks([Columns()], splits, EvaluationOptions(rerank=Rerank(k1=99)))


def test_both_precisions_are_those_of_two_calls(splits):
    both = reference(splits, ap="both")
    assert both["mAP"] == reference(splits)["mAP"]
    assert both["mAP_oxford"] == reference(splits, ap="oxford")["mAP"]
    assert "mAP_oxford" not in reference(splits)


class TestMatrix:
    @staticmethod
    def cell(value):
        return {"mAP": value, "mAP_oxford": 0, "mINP": 0, "rank1": 2 * value, "rank5": 0,
                "rank10": 0}  # fmt: skip

    @pytest.fixture
    def matrix(self):
        rows = {"a|b": (10, 20), "c,d": (30, 40.25)}
        return ScoreMatrix(
            {
                name: {
                    dataset: {"cosine": self.cell(value), "reranked": self.cell(value + 1)}
                    for dataset, value in zip(("market", "msmt"), values, strict=True)
                }
                for name, values in rows.items()
            }
        )

    def test_markdown(self, matrix):
        assert matrix.markdown() == (
            "| mAP / rank-1, cosine | market | msmt |\n"
            "| --- | ---: | ---: |\n"
            "| a\\|b | 10.0 / 20.0 | 20.0 / 40.0 |\n"
            "| c,d | 30.0 / 60.0 | 40.2 / 80.5 |\n"
            "\n"
            "| mAP / rank-1, re-ranked | market | msmt |\n"
            "| --- | ---: | ---: |\n"
            "| a\\|b | 11.0 / 22.0 | 21.0 / 42.0 |\n"
            "| c,d | 31.0 / 62.0 | 41.2 / 82.5 |\n"
        )

    def test_csv(self, matrix):
        assert matrix.csv().splitlines()[:3] == [
            "checkpoint,market cosine mAP,market cosine rank1,msmt cosine mAP,msmt cosine rank1,"
            "market reranked mAP,market reranked rank1,msmt reranked mAP,msmt reranked rank1",
            "a|b,10.0000,20.0000,20.0000,40.0000,11.0000,22.0000,21.0000,42.0000",
            '"c,d",30.0000,60.0000,40.2500,80.5000,31.0000,62.0000,41.2500,82.5000',
        ]

    def test_the_terminal_has_a_table_a_dataset(self, matrix):
        tables = matrix.tables()
        assert [table.title for table in tables] == ["market, per cent", "msmt, per cent"]
        assert list(tables[0].columns[0].cells) == ["a|b", "a|b, re-ranked", "c,d",
                                                    "c,d, re-ranked"]  # fmt: skip
        assert list(tables[1].columns[1].cells) == ["20.0", "21.0", "40.2", "41.2"]


WORLD = ("dataset.train_identities=16", "dataset.test_identities=6", "dataset.cameras=3")


@pytest.mark.parametrize(("height", "width"), [(64, 32), (256, 128), (16, 48)])
def test_a_network_without_a_checkpoint_is_built_for_the_images_that_it_gets(height, width):
    model = {"_target_": "dccc_lightning.models.embedder.build_embedder",
             "backbone": "vit_small", "weights": None}  # fmt: skip
    image = {"height": height, "width": width, "fit": "stretch"}
    settings = {"model": model, "image": image, "embedding": {}}
    embedder = build_plain(settings, torch.device("cpu"))
    images = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    assert embedder.embed(images).shape == (2, 384)
    settings["image"]["height"] = 40
    with pytest.raises(UserError, match="image_size must be multiples of 16, got 40 x"):
        build_plain(settings, torch.device("cpu"))


class TestCommand:
    def test_a_run_is_evaluated_as_it_evaluated_itself(self, finished, command, tiny, tmp_path):
        own, last = (
            json.loads((finished / "results.json").read_text()),
            finished / "checkpoints" / "last.ckpt",
        )
        for network in ("student", "teacher"):
            outcome = command("task=evaluate", *tiny[:4], f"ckpt={last}",
                              "trainer=cpu", f"network={network}", f"output={network}")  # fmt: skip
            assert outcome.code == 0, outcome.err
            results = json.loads((tmp_path / network / "results.json").read_text())
            found = results["scores"][str(last)]["synthetic"]["cosine"]
            assert found == pytest.approx(found | own[network], abs=1e-3)
            described = results["checkpoints"][str(last)]
            assert (described["network"], described["height"]) == (network, 32)
        outcome = command(
            "task=evaluate", *tiny[:4], f"ckpt={finished}", "trainer=cpu", "output=best"
        )
        results = json.loads((tmp_path / "best" / "results.json").read_text())
        assert results["checkpoints"][str(finished)]["network"] == own["best"]["network"]
        found = results["scores"][str(finished)]["synthetic"]["cosine"]
        scores = {name: own["best"][name] for name in own["student"]}
        assert found == pytest.approx(found | scores, abs=1e-3)
        counts = results["datasets"]["synthetic"]
        assert counts["query"] == counts["scored_queries"] == own["query"] == own["scored_queries"]

    def test_networks_and_datasets_make_a_matrix(self, command, world_folder, tmp_path):
        worlds = ",".join(
            f"{{dataset:synthetic,root:'{world_folder}',train_identities:16,test_identities:6,"
            f"cameras:3,name:{name},seed:{seed}}}"
            for name, seed in (("first", 0), ("second", 1))
        )
        outcome = command(
            "task=evaluate", "ckpt=[bundled]", f"datasets=[{worlds}]", "flip=true", "rerank=true",
            "reranking.k1=8", "reranking.k2=3", "trainer=cpu", "output=out",
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        assert results["options"] == {
            "protocol": "auto",
            "flip": True,
            "rerank": {"k1": 8, "k2": 3, "weight": 0.3},
        }
        assert list(results["datasets"]) == ["first", "second"]
        assert len({results["datasets"][name]["root"] for name in ("first", "second")}) == 2
        cell = results["scores"]["bundled"]["second"]["reranked"]
        line = (tmp_path / "out" / "matrix.csv").read_text().splitlines()[1].split(",")
        assert line[-2:] == [f"{cell['mAP']:.4f}", f"{cell['rank1']:.4f}"]
        assert f"{cell['mAP']:.1f}" in (tmp_path / "out" / "matrix.md").read_text()
        assert "second (market1501), per cent" in outcome.out

    def test_without_a_checkpoint_the_model_is_evaluated(self, command, tiny, tmp_path):
        outcome = command("task=evaluate", *tiny[:4], "trainer=cpu", "output=out")
        assert outcome.code == 0, outcome.err
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        assert list(results["scores"]) == ["resnet10, bundled weights"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["ckpt=nothing.ckpt"], "nothing.ckpt: no such file"),
            (["ckpt=[bundled,bundled]"], "give one checkpoint or several, each once"),
            (["ckpt=bundled", "datasets=market1501"], "give a list"),
            (["ckpt=bundled", "loader.workers=-1"], "loader: workers must be at least 0"),
            (["ckpt=bundled", "dataset.on_error=no"], "on_error must be one of fail, skip"),
            (["ckpt=bundled", "reranking.k1=0"], "k1 must be at least 1"),
        ],
    )
    def test_a_value_that_cannot_be_is_one_line(self, composed, tmp_path, arguments, message):
        with pytest.raises(UserError) as refused:
            evaluate(composed("task=evaluate", changes=arguments), tmp_path)
        assert message in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["ckpt=bundled", "datasets=[marker]"], "datasets: no dataset marker; valid: "),
            (["ckpt=bundled", "datasets=[synthetic,synthetic]"], "two are named synthetic"),
            (["ckpt=bundled", "datasets=[{dataset:synthetic,sed:3}]"],
             "datasets: synthetic has no setting sed; valid: "),
            (["ckpt=bundled", "datasets=[{dataset:folder,rot:A}]"],
             "datasets: folder has no setting rot; valid: "),
            (["ckpt=bundled", "datasets=[{root:x}]"], "does not name a dataset"),
            (["ckpt=bundled", "flip=perhaps"], "flip=perhaps: must be true or false"),
            (["ckpt=bundled", "rerank=camera"], "must be true or false, or ca_jaccard"),
            (["ckpt=bundled", "reranking={k1:20,k2:6}", "datasets=[{dataset:folder}]"],
             "dataset.root=PATH is needed"),
            (["ckpt=bundled", "dataset=folder", "dataset.root=crops"],
             "folder: no query images in crops, so nothing to evaluate on"),
        ],
    )  # fmt: skip
    def test_a_mistake_is_one_line(self, command, tmp_path, arguments, message):
        (tmp_path / "crops").mkdir()
        Image.new("RGB", (8, 16)).save(tmp_path / "crops" / "a.png")
        outcome = command("task=evaluate", "trainer=cpu", "output=out", *arguments)
        assert outcome.code == 2
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
        assert not (tmp_path / "out").exists()
