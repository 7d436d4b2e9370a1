"""The study of photographs: folds, scores by hand, what is missing is run, its tables."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from dccc_lightning.cli import conf_dir
from dccc_lightning.clustering.dcps import FixedSchedule

STUDY = Path(__file__).parents[1] / "benchmarks" / "photographs"


@pytest.fixture(scope="module")
def study():
    sys.path.insert(0, str(STUDY))
    import photo_parts
    import photo_plan
    import photo_scores
    import photo_sets
    import photo_tables

    yield photo_plan, photo_sets, photo_scores, photo_tables, photo_parts
    sys.path.remove(str(STUDY))


def test_folds_swap_the_identities_and_cap_the_test(study, tmp_path, monkeypatch):
    _, sets, *_ = study
    monkeypatch.setattr(sets, "CAP", 2)
    for cow in range(5):
        (tmp_path / "dataset" / "train" / f"{cow:03}").mkdir(parents=True)
        for number in range(1 if cow == 4 else 3):
            (tmp_path / "dataset" / "train" / f"{cow:03}" / f"{number}.jpg").touch()
    (tmp_path / "dataset" / "train" / "notes.jpg").touch()
    images = sets.photos(sets.SETS["opencows"], tmp_path)
    assert len(images) == 13
    folds = {name: sets.fold_of(name, images) for name in "AB"}
    trained = {name: {image.identity for image in fold.train} for name, fold in folds.items()}
    assert not trained["A"] & trained["B"]
    assert trained["A"] | trained["B"] == {f"{cow:03}" for cow in range(5)}
    for name, fold in folds.items():
        assert not {image.identity for image in fold.test} & trained[name]
        counts = Counter(image.identity for image in fold.test)
        assert set(counts.values()) == {2}  # capped, and a single image has no match
    with pytest.raises(SystemExit, match="no images of Vehicle"):
        sets.photos(sets.SETS["vehicles"], tmp_path)


def test_an_animal_has_two_flanks(study, tmp_path):
    _, sets, *_ = study
    (tmp_path / "test" / "3").mkdir(parents=True)
    for side in ("left", "right"):
        (tmp_path / "test" / "3" / f"16_{side}photo.jpg").touch()
    assert [i.identity for i in sets.photos(sets.SETS["nyala"], tmp_path)] == ["3-left", "3-right"]


def test_scores_are_those_by_hand_and_a_turned_image_is_found_aligned(study):
    _, _, scores, *_ = study
    similarity = np.array(
        [[1, 0.5, 0.9, 0.1], [0.5, 1, 0.2, 0.3], [0.9, 0.2, 1, 0.4], [0.1, 0.3, 0.4, 1]],
        dtype=np.float32,
    )
    found = scores.precision_by_identity(similarity, ["a", "a", "b", "c"])
    assert found == [pytest.approx((1 / 2 + 1) / 2)]  # b and c are single
    turned = torch.eye(8).reshape(2, 4, 8)
    turned = torch.cat([turned, turned.roll(1, dims=1)])
    ways = scores.scores(turned, ["a", "b", "a", "b"])
    assert ways["aligned"] == [1.0, 1.0]
    assert min(ways["plain"]) < 1


def test_every_run_is_planned_once_and_has_a_setting(study):
    plan, sets, *_ = study
    jobs = plan.plan()
    assert len(jobs) == len({job.name for job in jobs})
    for job in jobs:
        assert job.fold in sets.SETS[job.photo_set].folds
        assert job.changes is None or all("=" in change for change in job.changes)
    seeds = {job.seed for job in jobs if job.case == "aligned60"}
    assert seeds == {1, 2, 3}


@pytest.mark.slow
def test_every_case_composes(study):
    plan, *_ = study
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for cases in plan.ROWS.values():
            for case in cases.values():
                settings = compose("train", [*plan.SHARED, *(case.changes or ())])
                assert settings.epochs * settings.iterations in (120, 240)
                assert settings.model.pooling == "avg"


def test_the_ceiling_has_the_identities_as_labels(study):
    *_, parts = study
    labeler = parts.TrueLabels(identities=[0, 1, 1])
    found = labeler(np.eye(3), FixedSchedule(0.6), 0, constraints=None)
    assert (found.labels.tolist(), found.num_clusters) == ([0, 1, 1], 2)
    with pytest.raises(ValueError, match="3 identities of 2 images"):
        labeler(np.eye(2), FixedSchedule(0.6), 0)


def test_the_table_has_seeds_gains_and_intervals(study, tmp_path):
    plan, _, _, tables, _ = study

    def row(value, **more):
        ways = {way: [value, value + 0.2] for way in ("plain", "mean", "aligned")}
        return {"train": 9, "test": 4, "clusters": more, "scores": ways}

    rows = {
        plan.Job("opencows", "A", "source", 1): row(0.5),
        plan.Job("opencows", "A", "cc", 1): row(0.6, ari=0.25),
        plan.Job("opencows", "A", "cc", 2): row(0.7, ari=0.75),
    }
    text = tables.tables(rows)
    assert "2 identities and 4 images in the test, 9 in training." in text
    assert "| untrained (ImageNet) |  | 60.0 (50.0 to 70.0) |" in text
    line = next(line for line in text.splitlines() if line.startswith("| Cluster Contrast"))
    assert "| 2 | 75.0 ± 7.1 |" in line
    assert "| +15.0 (+15.0 to +15.0) |" in line
    assert line.endswith("| 0.50 |")
    page = tmp_path / "page.md"
    page.write_text(f"prose\n{tables.MARK}stale")
    tables.write_tables(page, rows)
    assert page.read_text() == f"prose\n{tables.MARK}\n{text}"
    assert tables.status(rows).startswith(f"3 of {len(plan.plan())} runs have ended; next: open")


def test_lines_stay_where_their_runs_are_missing(study):
    plan, _, _, tables, _ = study
    before = (
        "\n### OpenCows2020, cows from above: fold A\n\nA sentence.\n\n| | seeds | plain |\n"
        "| untrained (ImageNet) |  | old |\n| DCCC, eps 0.55 | 1 | old |\n"
        "| Cluster Contrast, eps 0.55 | 3 | old |\n\n#### Pseudo labels\n\nold labels\n\n"
        "### Nyala flanks, upright\n\nold flanks\n"
    )
    ways = {way: [0.5] for way in ("plain", "mean", "aligned")}
    row = {"train": 9, "test": 4, "clusters": {}, "scores": ways}
    rows = {plan.Job("opencows", "A", case, 1): row for case in ("source", "dccc", "cc")}
    text = tables.tables(rows, before)
    assert text.count("| old |") == 1
    assert "| Cluster Contrast, eps 0.55 | 3 | old |" in text  # of three runs, not of one
    assert (
        "\n\n#### Pseudo labels\n\nold labels\n\n### Nyala flanks, upright\n\nold flanks\n" in text
    )
    assert tables.tables(rows, text) == text


def test_results_are_kept_and_the_folder_adds_to_them(study, tmp_path, monkeypatch):
    import photo_runner as runner

    plan, *_ = study
    monkeypatch.setattr(runner, "RESULTS", tmp_path / "results.jsonl")
    first, second = (plan.Job("vehicles", "A", "cc", seed) for seed in (1, 2))
    runner.keep({first: {"job": first._asdict(), "scores": {"plain": [0.5]}}})
    (tmp_path / "rows").mkdir()
    row = {"job": second._asdict(), "scores": {"plain": [1 / 3]}}
    runner.write_json(runner.row_file(tmp_path, second), row)
    found = runner.finished(tmp_path)
    assert list(found) == [first, second]
    assert found[second]["scores"] == {"plain": [0.3333]}
    runner.keep(found)
    assert runner.finished(tmp_path / "empty") == found


def test_the_kept_results_give_the_tables_of_the_page(study):
    from photo_runner import finished

    _, _, _, tables, _ = study
    page = (STUDY.parents[1] / "docs" / "photographs.md").read_text()
    written = page.partition(tables.MARK)[2]
    assert "\n" + tables.tables(finished(STUDY), written) == written
