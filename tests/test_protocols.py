"""Evaluation protocols beside plain loops: one query, one gallery image and one draw at a time."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dccc_lightning.common import callback_ranges
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.protocol_arrangement import random_order
from dccc_lightning.metrics.protocol_scores import evaluate_protocol
from dccc_lightning.metrics.protocols import PROTOCOLS, protocol_of
from dccc_lightning.metrics.queries import check_queries, count_queries, has_match
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.metrics.reranking import Rerank
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.reports.boards.ranking_board import Split, ranking_rows
from dccc_lightning.reports.results import summarize_run
from dccc_lightning.reports.run_page import Report, run_page
from dccc_lightning.reports.score_matrix import ScoreMatrix
from dccc_lightning.tasks import train
from dccc_lightning.training.callbacks.evaluation_interval import EvaluationEvery
from dccc_lightning.training.callbacks.pruning import Pruning
from dccc_lightning.training.retrieval_module import EvaluatedModule

DRAWS = 10
COLUMNS = ("session", "tracklet", "clothes", "modality")


def alike(a, b, column):
    return a[column] == b[column] != -1


def leaves_out(name, query, image):
    """True if a gallery image is taken out of the ranking of a query."""
    hidden = name in ("cross_modality", "llcm") and alike(query, image, "modality")
    hidden = hidden or (name.startswith("sysu") and (query["camera"], image["camera"]) == (2, 1))
    if hidden or not alike(query, image, "identity"):
        return hidden
    known = query["clothes"] != -1 != image["clothes"]
    same_clothes = known and query["clothes"] == image["clothes"]
    apart = {"other_session": ["session"], "other_tracklet": ["session", "tracklet"]}
    apart["leave_one_out"] = [*apart["other_tracklet"], "number"]
    if any(query[c] != image[c] for c in ("camera", "session")):  # another tracklet of its number
        image = {**image, "tracklet": -1}
    return (
        any(alike(query, image, c) for c in apart.get(name, ["session", "tracklet", "camera"]))
        or (name in ("clothes_changed", "prcc_clothes_changed") and (same_clothes or not known))
        or (name in ("same_clothes", "prcc_same_clothes") and not same_clothes)
    )


def first_rank(name, ranked, matches, gallery, draw):
    """Rank of a query: its first match, or its place among identities."""
    if name.startswith("sysu") or name == "llcm":
        seen = []
        for place, image in enumerate(ranked):
            if matches[place]:
                return len(seen) + 1
            person = image["identity"] if image["identity"] != -1 else ("one", image["number"])
            if person not in seen:
                seen.append(person)
    if name == "cuhk03_classic":
        order = random_order(draw, len(gallery))
        place = {gallery[position]["number"]: rank for rank, position in enumerate(order)}
        chosen = {}
        for image, matched in zip(ranked, matches, strict=True):
            person = image["identity"] if image["identity"] != -1 else ("one", image["number"])
            best = chosen.get(person)
            if best is None or place[image["number"]] < place[best[0]["number"]]:
                chosen[person] = image, matched
        kept = {image["number"]: matched for image, matched in chosen.values()}
        left = [kept[image["number"]] for image in ranked if image["number"] in kept]
        return left.index(True) + 1
    return matches.index(True) + 1


def plain_scores(name, queries, gallery, draw, ranks):
    """Scores of one gallery, query by query."""
    rows = []
    for query in queries:
        kept = [image for image in gallery if not leaves_out(name, query, image)]
        kept.sort(key=lambda image: -float(query["feature"] @ image["feature"]))
        matches = [bool(alike(query, image, "identity")) for image in kept]
        if True not in matches:
            continue
        places = [place + 1 for place, matched in enumerate(matches) if matched]
        precision = sum((n + 1) / place for n, place in enumerate(places)) / len(places)
        first = first_rank(name, kept, matches, gallery, draw)
        values = [precision, len(places) / places[-1], *(float(first <= k) for k in ranks)]
        rows.append((query["identity"], values))
    if not rows:
        return None
    if name == "leave_one_out":
        people = sorted({person for person, _ in rows})
        return np.mean(
            [np.mean([v for p, v in rows if p == one], axis=0) for one in people], axis=0
        )
    return np.mean([values for _, values in rows], axis=0)


def pooled(images):
    """Tracklets as images: mean of the unit embeddings, of length 1."""
    groups = {}
    for image in images:
        key = tuple(image[c] for c in ("identity", "camera", "session", "tracklet"))
        groups.setdefault(key if image["tracklet"] != -1 else image["number"], []).append(image)
    units = []
    for group in groups.values():
        mean = sum(image["feature"] for image in group) / len(group)
        units.append({**group[0], "feature": mean / np.linalg.norm(mean)})
    return units


def plain_protocol(name, queries, gallery, ranks):
    """Means over the draws, and standard deviations of protocols that draw."""
    if name.startswith("sysu"):
        visible = (0, 1, 3, 4) if name == "sysu_all_search" else (0, 1)
        queries = [image for image in queries if image["camera"] in (2, 5)]
        gallery = [image for image in gallery if image["camera"] in visible]
    if name == "tracklets":
        queries, gallery = pooled(queries), pooled(gallery)
    if name in ("leave_one_out", "vehicleid"):
        queries = gallery = [*queries, *gallery]
    columns = {
        "single_shot": ("identity", "camera"), "sysu_all_search": ("identity", "camera"),
        "sysu_indoor_search": ("identity", "camera"), "llcm": ("identity", "camera", "modality"),
        "prcc_same_clothes": ("identity",), "prcc_clothes_changed": ("identity",),
        "vehicleid": ("identity",),
    }.get(name)  # fmt: skip
    found = []
    for draw in range(DRAWS if columns or name == "cuhk03_classic" else 1):
        asked, searched = queries, gallery
        if columns:
            best = {}
            for position in random_order(draw, len(gallery)):
                image = gallery[position]
                key = tuple(image[column] for column in columns)
                best.setdefault(key if image["identity"] != -1 else image["number"], position)
            searched = [gallery[position] for position in sorted(best.values())]
            if name == "vehicleid":
                numbers = {image["number"] for image in searched}
                asked = [image for image in queries if image["number"] not in numbers]
        found.append(plain_scores(name, asked, searched, draw, ranks))
    if any(scores is None for scores in found):
        return None
    names = ["mAP", "mINP", *(f"rank{k}" for k in ranks)]
    result = dict(zip(names, np.mean(found, axis=0), strict=True))
    if name == "leave_one_out":
        people = _mean_precisions(queries, gallery)
        picks = np.random.default_rng(0).integers(len(people), size=(1000, len(people)))
        averages = [np.mean([people[i] for i in pick]) for pick in picks]
        result["mAP_low"], result["mAP_high"] = np.quantile(averages, [0.025, 0.975])
    if len(found) > 1:
        spread = dict(zip(names, np.std(found, axis=0, ddof=1), strict=True))
        drawn = names[2:] if name == "cuhk03_classic" else names  # only its ranks are drawn
        result |= {f"{key}_std": spread[key] for key in drawn}
    return result


def _mean_precisions(queries, gallery):
    """Mean average precision of each identity, query by query."""
    found = {}
    for query in queries:
        scores = plain_scores("leave_one_out", [query], gallery, 0, (1,))
        if scores is not None:
            found.setdefault(query["identity"], []).append(scores[0])
    return [np.mean(found[person]) for person in sorted(found)]


def world(seed, count, ties=False):
    """Random images with all labels, some unknown."""
    rng = np.random.default_rng(seed)
    features = np.eye(3)[rng.integers(3, size=count)] if ties else rng.standard_normal((count, 4))
    labels = {
        "identity": rng.integers(-1, 4, count), "camera": rng.integers(0, 6, count),
        "session": rng.integers(-1, 9, count), "tracklet": rng.integers(-1, 9, count),
        "clothes": rng.integers(-1, 3, count), "modality": rng.integers(0, 2, count),
    }  # fmt: skip
    return features, labels


def as_images(features, labels):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return [
        {"number": i, "feature": unit[i], **{name: int(v[i]) for name, v in labels.items()}}
        for i in range(len(unit))
    ]


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 40), st.booleans(), st.sampled_from([3, 128]))
def test_scores_equal_the_plain_loop(name, seed, count, ties, block):
    features, labels = world(seed, count, ties)
    images, cut = as_images(features, labels), count // 3
    ranks = (1, 2, 5)
    expected = plain_protocol(name, images[:cut], images[cut:], ranks)
    positions = np.arange(count)
    arguments = name, features, labels, positions[:cut], positions[cut:]
    if expected is None:
        with pytest.raises(ValueError, match=r"no valid query|is empty"):
            evaluate_protocol(*arguments, ranks=ranks, block=block, warn=False)
        return
    actual = evaluate_protocol(*arguments, ranks=ranks, block=block, warn=False)
    assert set(actual) == set(expected)
    for key, value in expected.items():
        assert actual[key].item() == pytest.approx(value, abs=1e-9), key


def records(labels, part):
    columns = {name: labels[name][part] for name in COLUMNS}
    every = np.arange(len(labels["session"]))[part]
    paths = tuple(Path(f"{i}.jpg") for i in every)
    return Records(paths, labels["identity"][part], labels["camera"][part], columns)


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 40))
def test_queries_with_a_match_are_those_of_the_plain_loop(name, seed, count):
    features, labels = world(seed, count)
    images, cut = as_images(features, labels), count // 3
    queries, gallery = images[:cut], images[cut:]
    if name in ("leave_one_out", "vehicleid"):
        queries = gallery = images
    if name == "tracklets":
        queries, gallery = pooled(queries), pooled(gallery)
    if name.startswith("sysu"):
        visible = (0, 1, 3, 4) if name == "sysu_all_search" else (0, 1)
        queries = [image for image in queries if image["camera"] in (2, 5)]
        gallery = [image for image in gallery if image["camera"] in visible]
    expected = [
        any(
            alike(query, image, "identity")
            and not leaves_out(name, query, image)
            and (name != "vehicleid" or query["number"] != image["number"])
            for image in gallery
        )
        for query in queries
    ]
    found = has_match(
        records(labels, slice(None, cut)), records(labels, slice(cut, None)), PROTOCOLS[name]
    )
    assert found.tolist() == expected


def test_market1501_is_bit_for_bit_what_it_was():
    """Known sessions exclude more; without them the scores are those of ``evaluate_retrieval``."""
    features, labels = world(3, 60)
    query, gallery = np.arange(20), np.arange(20, 60)
    known = {name: labels[name] for name in ("identity", "camera")}
    sides = [(features[p], labels["identity"][p], labels["camera"][p]) for p in (query, gallery)]
    plain = evaluate_retrieval(*sides[0], *sides[1], ap="both")
    actual = evaluate_protocol("market1501", features, known, query, gallery, ap="both")
    assert list(actual) == list(plain)
    assert all(torch.equal(actual[name], value) for name, value in plain.items())
    known |= {"session": labels["session"]}
    assert evaluate_protocol("market1501", features, known, query, gallery)["mAP"] != plain["mAP"]


def test_names_are_those_of_the_settings():
    assert tuple(PROTOCOLS) == callback_ranges.PROTOCOLS
    with pytest.raises(ValueError, match="protocol must be one of market1501, single_shot"):
        evaluate_protocol("market", np.eye(2), {}, [0], [1])
    with pytest.raises(ValueError, match=r"labels must be \(2,\)"):
        evaluate_protocol("market1501", np.eye(2), {"identity": [1]}, [0], [1])


@pytest.mark.parametrize("name", ["leave_one_out", "vehicleid", "single_shot", "tracklets"])
def test_the_order_of_query_and_gallery_alone_breaks_ties(name):
    features, labels = world(5, 40, ties=True)
    features += 1e-3 * np.random.default_rng(0).standard_normal(features.shape)
    shuffled = np.random.default_rng(1).permutation(40)
    place = shuffled.argsort()
    first = evaluate_protocol(name, features, labels, np.arange(15), np.arange(15, 40))
    again = evaluate_protocol(
        name,
        features[shuffled],
        {k: v[shuffled] for k, v in labels.items()},
        place[:15],
        place[15:],
    )
    assert first.keys() == again.keys()
    assert all(first[key].item() == pytest.approx(again[key].item(), abs=1e-12) for key in first)


def test_leave_one_out_is_reranked_among_the_images_themselves():
    """Each image is one point: with a copy of each the nearest neighbour would be that copy."""
    features, labels = world(7, 40)
    positions = np.arange(40)
    rerank = Rerank(k1=5, k2=2)
    found = evaluate_protocol("leave_one_out", features, labels, positions[:9], positions[9:],
                              rerank=rerank)  # fmt: skip
    assert 0 < found["mAP"] < 1
    centred = evaluate_protocol("leave_one_out", features, labels, positions[:9], positions[9:],
                                camera_center=True)  # fmt: skip
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for camera in range(6):
        unit[labels["camera"] == camera] -= unit[labels["camera"] == camera].mean(axis=0)
    again = evaluate_protocol("leave_one_out", unit, labels, positions[:9], positions[9:])
    assert centred["mAP"].item() == pytest.approx(again["mAP"].item(), abs=1e-6)


def splits(labels, cut):
    none = Records.from_rows([])
    parts = records(labels, slice(None, cut)), records(labels, slice(cut, None))
    return Splits("mine", Path("crops"), none, *parts)


def test_labels_that_a_protocol_needs_are_asked_for():
    _, labels = world(2, 30)
    found = splits(labels, 10)
    assert count_queries(found, PROTOCOLS["leave_one_out"])["query"] == 30
    assert check_queries(found, PROTOCOLS["clothes_changed"]) > 0
    for name, column in [
        ("clothes_changed", "clothes"), ("prcc_same_clothes", "clothes"),
        ("cross_modality", "modality"), ("tracklets", "tracklet"), ("other_tracklet", "tracklet"),
        ("other_session", "session"),
    ]:  # fmt: skip
        without = splits({**labels, column: np.full(30, -1)}, 10)
        with pytest.raises(UserError, match=f"protocol={name}: mine in crops has no {column} of"):
            check_queries(without, PROTOCOLS[name])
    both = Splits("mine", found.root, found.train, found.gallery, found.gallery)
    with pytest.raises(
        UserError, match="protocol=leave_one_out: 20 images of mine in crops are qu"
    ):
        check_queries(both, PROTOCOLS["leave_one_out"])
    check_queries(both)
    apart = splits({**labels, "identity": np.arange(30)}, 10)
    with pytest.raises(UserError, match=r"none of 30 queries in crops .*protocol=leave_one_out"):
        check_queries(apart, PROTOCOLS["leave_one_out"])


@pytest.mark.parametrize("name", ["market1501", "leave_one_out", "tracklets", "single_shot"])
def test_the_metric_scores_shards_in_any_order(name):
    features, labels = world(11, 40)
    cut = 15
    expected = evaluate_protocol(name, features.astype(np.float32), labels, np.arange(cut),
                                 np.arange(cut, 40))  # fmt: skip
    metric = ReIDRetrieval(protocol=name)
    for part in np.array_split(np.random.default_rng(0).permutation(40), 7):
        metric.update(
            features[part], labels["identity"][part], labels["camera"][part], part < cut,
            np.where(part < cut, part, part - cut), {c: labels[c][part] for c in COLUMNS},
        )  # fmt: skip
    actual = metric.compute()
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert actual[key].item() == pytest.approx(value.item(), abs=1e-6), key


def test_few_queries_are_said(caplog):
    labels = {name: np.full(201, -1) for name in ("identity", "camera", *COLUMNS)}
    labels["identity"] = np.arange(201) % 100
    for queries, warned in ((99, True), (100, False)):
        caplog.clear()
        check_queries(splits(labels, queries))
        said = [r.getMessage() for r in caplog.records if "queries with a match" in r.getMessage()]
        assert bool(said) is warned
    caplog.clear()
    labels["camera"][:] = np.arange(201) // 100
    check_queries(splits(labels, 99))
    assert not caplog.records


def test_the_metric_checks_its_labels():
    metric = ReIDRetrieval()
    one = np.eye(2), np.ones(2), np.ones(2), np.zeros(2)
    with pytest.raises(ValueError, match=r"labels must be .* of session, tracklet, .* of day"):
        metric.update(*one, labels={"day": np.ones(2)})
    with pytest.raises(ValueError, match=r"labels must be \(2,\).* got \(3,\) of session"):
        metric.update(*one, labels={"session": np.ones(3)})
    with pytest.raises(ValueError, match="protocol must be one of market1501"):
        ReIDRetrieval(protocol="auto")


class Module(EvaluatedModule):
    def networks(self):
        return {"val": torch.nn.Identity()}


def test_auto_is_the_datasets_own_protocol_and_stays_that_of_a_run():
    _, labels = world(2, 30)
    found = splits(labels, 10)
    own = Splits("mine", found.root, found.train, found.query, found.gallery, protocol="tracklets")
    module, trainer = Module(), SimpleNamespace(datamodule=SimpleNamespace(splits=own))
    callback = EvaluationEvery(1)
    callback.setup(trainer, module, "fit")
    module.on_validation_epoch_start()
    assert module.retrieval["val"].protocol == "tracklets"
    callback.load_state_dict(callback.state_dict())
    with pytest.raises(
        UserError, match=r"were evaluated with tracklets; set evaluate\.protocol=tracklets,"
    ):
        EvaluationEvery(1, protocol="market1501").load_state_dict(callback.state_dict())
    EvaluationEvery(1, protocol="market1501").load_state_dict({"camera_center": False})
    with pytest.raises(ValueError, match=r"evaluate\.protocol must be one of auto, market1501,"):
        EvaluationEvery(1, protocol="best")
    assert protocol_of("auto", own).name == "tracklets"
    wrong = Splits("mine", found.root, found.train, found.query, found.gallery, protocol="x")
    with pytest.raises(UserError, match=r"mine: no protocol x; set evaluate\.protocol to one of"):
        protocol_of("auto", wrong)
    assert protocol_of("market1501", wrong).name == "market1501"


def test_results_tables_and_pages_name_the_protocol_and_the_deviation():
    scores = {f"val/{name}": 0.5 for name in ("mAP", "mINP", "rank1", "rank5", "rank10")}
    rows = [{"epoch": 0, "step": 1} | scores | {"val/mAP_std": 0.0125}]
    results = summarize_run(rows, 0, 1, protocol="single_shot")
    assert results["protocol"] == "single_shot"
    assert results["student"]["mAP_std"] == 1.25
    table = train.results_table(results)
    assert table.title == "test split, protocol single_shot, per cent"
    assert "50.0 ± 1.2" in list(table.columns[1].cells)
    page = run_page(Report(title="mine", results=results, rows=rows))
    assert "test split, protocol single_shot, %" in page
    assert "50.0 ± 1.2" in page
    assert "protocol" not in summarize_run([{"epoch": 0}], 0, 1, protocol="single_shot")
    cells = dict.fromkeys(("mAP", "mAP_oxford", "mINP", "rank1", "rank5", "rank10"), 10.0)
    matrix = ScoreMatrix({"a": {"cows": {"cosine": cells}}}, protocols={"cows": "leave_one_out"})
    assert matrix.tables()[0].title == "cows (leave_one_out), per cent"
    assert "| cows (leave_one_out) |" in matrix.markdown()
    assert "cows (leave_one_out) cosine mAP" in matrix.csv()


def test_the_unchanged_default_shows_the_experiment_to_take_home(monkeypatch):
    rows = [{"epoch": 0, "step": 1, "val/mAP": 0.5, "val/rank1": 0.6}]
    results = summarize_run(rows, 0, 1)
    row = {"experiment": "dccc_plus", "mAP": 86.6, "rank1": 91.2}
    table = train.results_table(results, row)
    assert list(table.columns[0].cells)[-1] == "experiment=dccc_plus"
    assert "86.6" in list(table.columns[1].cells)
    assert len(train.results_table(results).rows) == len(table.rows) - 1
    for unchanged in (True, False):
        monkeypatch.setattr(train, "is_published", lambda _, same=unchanged: same)
        assert train._beside({"beside": row}) == (row if unchanged else None)
    assert train._beside({"beside": None}) is None


@pytest.mark.parametrize(("chosen", "compared"), [("auto", True), ("market1501", True),
                                                  ("single_shot", False)])  # fmt: skip
def test_published_scores_stand_beside_their_own_protocol_alone(monkeypatch, chosen, compared):
    _, labels = world(2, 30)
    seen = []
    monkeypatch.setattr(train, "is_published", lambda s: seen.append(s) or _is_auto(s))
    facts = SimpleNamespace(has_official_sizes=lambda _: True)
    settings = {"evaluate": {"protocol": chosen}, "published": {"mAP": 60.0}}
    row = train._published(settings, SimpleNamespace(facts=facts), splits(labels, 10))
    assert (row == {"mAP": 60.0}) is compared
    assert seen


def _is_auto(settings):
    return settings["evaluate"]["protocol"] == "auto"


def test_pruning_compares_trials_of_one_protocol(tmp_path):
    optuna = pytest.importorskip("optuna")
    from dccc_lightning.sweeps.study import open_study

    study = open_study(tmp_path / "study.log")
    for _ in range(2):
        study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    trials = [Pruning(tmp_path / "study.log", i, "mAP", 0.5) for i in range(2)]
    trials[0]._report(50.0, 1, False, "market1501")
    with pytest.raises(UserError, match="evaluated by leave_one_out, the study by market1501"):
        trials[1]._report(60.0, 1, True, "leave_one_out")
    trials[1]._report(60.0, 1, False, "market1501")


def test_rankings_leave_out_the_images_that_the_protocol_leaves_out():
    features, labels = world(4, 30)
    unit = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    images = as_images(features, labels)
    sides = [Split(unit[p], records(labels, p)) for p in (slice(None, 10), slice(10, None))]
    for name in ("market1501", "clothes_changed", "cross_modality", "other_session"):
        rows = ranking_rows(*sides, protocol=PROTOCOLS[name])
        assert rows
        for row in rows:
            query, *hits = (int(tile.key.rpartition("/")[2]) for tile in row.tiles)
            kept = [i for i in range(20) if not leaves_out(name, images[query], images[10 + i])]
            assert set(hits) <= set(kept)
            assert len(hits) == min(10, len(kept))


@pytest.mark.parametrize("chosen", ["leave_one_out", "single_shot", "clothes_changed", "best"])
def test_the_setting_of_an_evaluation(command, tiny, chosen):
    arguments = [argument for argument in tiny if not argument.startswith("callbacks")]
    found = command("task=evaluate", *arguments, "ckpt=bundled", f"evaluate.protocol={chosen}",
                    "output=run")  # fmt: skip
    if chosen == "clothes_changed":
        assert found.code == 2
        assert "protocol=clothes_changed: synthetic in" in found.err
        return
    if chosen == "best":
        assert found.code == 2
        assert "evaluate.protocol must be one of auto, market1501" in found.err
        return
    assert found.code == 0, found.err
    results = json.loads(Path("run/results.json").read_text())
    described = results["datasets"]["synthetic"]
    assert described["protocol"] == chosen
    assert (described["query"] > described["gallery"]) is (chosen == "leave_one_out")
    scores = results["scores"]["bundled"]["synthetic"]["cosine"]
    assert ("mAP_std" in scores) is (chosen == "single_shot")
    assert f"synthetic ({chosen}), per cent" in found.out


@pytest.mark.slow
def test_a_training_without_cameras_is_evaluated_by_leave_one_out(command, tiny, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "crops").mkdir()
    for person in range(8):
        for shot in range(6):
            pixels = rng.integers(0, 256, (32, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "crops" / f"{person}_{shot}.png")
    arguments = [a for a in tiny if not a.startswith(("dataset", "epochs", "clustering"))]
    outcome = command(
        "dataset=folder", "dataset.root=crops", r'dataset.pattern="(?P<identity>\d+)_"',
        "model=mobilenet_v2", "model.weights=null", *arguments, "epochs=1", "clustering.k1=6",
        "output=run",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    results = json.loads(Path("run/results.json").read_text())
    assert results["protocol"] == "leave_one_out"
    assert results["query"] == results["scored_queries"] == 24
    assert results["student"]["mAP_low"] <= results["student"]["mAP"]
    assert "protocol leave_one_out" in " ".join(outcome.out.split())
    assert "24 queries with a match; below 100" in outcome.out + outcome.err
    refused = command("resume=run", "epochs=2", "evaluate.protocol=market1501")
    assert refused.code == 2
    assert "set evaluate.protocol=leave_one_out, and evaluate" in refused.err


def documented_case():
    """The case of docs/protocols.md: 40 people under four cameras, four of them in no gallery."""
    rng = np.random.default_rng(2026)
    centers, looks = rng.standard_normal((40, 16)), 0.5 * rng.standard_normal((4, 16))
    rows = [
        (person, camera, centers[person] + looks[camera] + 0.9 * rng.standard_normal(16))
        for person in range(40)
        for camera in range(4)
        for _ in range(int(rng.integers(1, 5)))
    ]
    identities, cameras = (np.array([row[i] for row in rows]) for i in range(2))
    features = np.stack([row[2] for row in rows]).astype(np.float32)
    query = np.unique(identities * 4 + cameras, return_index=True)[1]
    gallery = np.setdiff1d(np.flatnonzero(identities < 36), query)
    return features, {"identity": identities, "camera": cameras}, query, gallery


@pytest.mark.parametrize(
    ("protocol", "has_cameras"),
    [
        ("market1501", True),
        ("market1501", False),
        ("leave_one_out", True),
        ("cuhk03_classic", True),
    ],
)
def test_the_page_has_the_scores_of_its_case(protocol, has_cameras):
    features, labels, query, gallery = documented_case()
    assert (len(query), len(gallery)) == (160, 201)
    if not has_cameras:
        labels["camera"][:] = -1
    found = evaluate_protocol(protocol, features, labels, query, gallery)
    cells = [f"{100 * found[name].item():.2f}" for name in ("mAP", "rank1")]
    name = f"`{protocol}`{'' if has_cameras else ', cameras unknown'}"
    page = (Path(__file__).parents[1] / "docs" / "protocols.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith(f"| this package | {name} |")]
    assert [cell.strip().partition(" ")[0] for cell in line.split("|")[3:5]] == cells
