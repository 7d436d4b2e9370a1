import json

import pytest
import torch
from PIL import Image

from dccc_lightning import __version__
from dccc_lightning.common.files import write_json
from dccc_lightning.reports.figures.training_curves import plot_curves
from dccc_lightning.reports.results import SCORES, summarize_run


def scores(prefix, mean_ap):
    """Five scores that differ, all derived from the mAP."""
    return {f"{prefix}/{name}": mean_ap + n / 100 for n, name in enumerate(SCORES)}


def per_cent(mean_ap):
    return {name: pytest.approx(100 * mean_ap + n, abs=1e-3) for n, name in enumerate(SCORES)}


def clustering(number, eps):
    return {
        "cluster/num_clusters": float(number),
        "cluster/eps": eps,
        "cluster/outlier_ratio": 0.2,
        "cluster/ari": 0.5,
        "cluster/nmi": 0.6,
        "train/loss": 3.0 - eps,
    }


ROWS = [
    {"epoch": -1, "step": 0} | scores("val", 0.1) | scores("val_teacher", 0.1),
    {"epoch": 0, "step": 10} | clustering(40, 0.693),
    {"epoch": 1, "step": 20} | clustering(45, 0.686) | scores("val", 0.3)
    | scores("val_teacher", 0.55),
    {"epoch": 2, "step": 30} | clustering(50, 0.679),
    {"epoch": 3, "step": 40} | clustering(52, 0.672) | scores("val", 0.5)
    | scores("val_teacher", 0.4),
]  # fmt: skip


def test_scores_before_training_and_after_the_last_evaluation_in_per_cent():
    results = summarize_run(ROWS, seed=3, seconds=12.345)
    assert results["initial"] == per_cent(0.1)
    assert results["student"] == per_cent(0.5)
    assert results["teacher"] == per_cent(0.4)
    assert list(results["student"]) == ["mAP", "mINP", "rank1", "rank5", "rank10"]
    assert (results["seed"], results["seconds"], results["epochs"]) == (3, 12.3, 4)
    assert "published" not in results
    assert "difference" not in results


def test_clusters_and_eps_by_epoch():
    results = summarize_run(ROWS, seed=0, seconds=1)
    assert results["clusters"] == [40, 45, 50, 52]
    assert all(type(number) is int for number in results["clusters"])
    assert results["eps"] == [0.693, 0.686, 0.679, 0.672]


def test_the_last_evaluation_counts_where_later_epochs_have_none():
    results = summarize_run(ROWS[:4], seed=0, seconds=1)
    assert results["student"] == per_cent(0.3)
    assert results["teacher"] == per_cent(0.55)
    assert results["epochs"] == 3


def test_the_best_of_both_networks_over_all_epochs():
    best = summarize_run(ROWS, seed=0, seconds=1)["best"]
    where = {"network": "teacher", "epoch": 1, "selected_on": "test split"}
    assert best == where | per_cent(0.55)
    assert type(best["epoch"]) is int


def test_of_equally_good_epochs_the_earlier_is_best():
    rows = [{"epoch": epoch, "step": epoch} | scores("val", 0.5) for epoch in range(3)]
    assert summarize_run(rows, seed=0, seconds=1)["best"]["epoch"] == 0
    rows[0] |= scores("val", 0.4)
    rows[2] |= scores("val_teacher", 0.5)
    best = summarize_run(rows, seed=0, seconds=1)["best"]
    assert (best["network"], best["epoch"]) == ("student", 1)


def test_the_evaluation_before_training_is_never_the_best():
    rows = [ROWS[0] | scores("val", 0.9), *ROWS[1:]]
    assert summarize_run(rows, seed=0, seconds=1)["best"]["epoch"] == 1


def test_without_teacher_its_scores_are_none():
    rows = [{k: v for k, v in row.items() if not k.startswith("val_teacher")} for row in ROWS]
    results = summarize_run(rows, seed=0, seconds=1, published={"mAP": 60.0})
    assert results["teacher"] is None
    assert (results["best"]["network"], results["best"]["epoch"]) == ("student", 3)
    assert results["difference"] == {"mAP": pytest.approx(-10.0)}


def test_without_evaluation_there_are_no_scores():
    for rows in (ROWS[1:2], []):
        results = summarize_run(rows, seed=0, seconds=1, published={"mAP": 86.6})
        assert results["initial"] is results["student"] is results["teacher"] is None
        assert results["best"] is None
        assert "difference" not in results


def test_the_better_network_of_the_last_epoch_is_compared_with_the_paper():
    published = {"mAP": 45.0, "rank1": 60.0}
    results = summarize_run(ROWS, seed=0, seconds=1, published=published)
    assert results["published"] == published
    # The student's 50.0 and 52.0, although the teacher of epoch 1 was better.
    assert results["difference"] == {"mAP": pytest.approx(5.0), "rank1": pytest.approx(-8.0)}
    rows = [*ROWS[:-1], ROWS[-1] | scores("val_teacher", 0.6)]
    results = summarize_run(rows, seed=0, seconds=1, published=published)
    assert results["difference"] == {"mAP": pytest.approx(15.0), "rank1": pytest.approx(2.0)}


def test_the_file_holds_the_results_as_json(tmp_path):
    results = summarize_run(ROWS, seed=0, seconds=1, published={"mAP": 86.6})
    path = tmp_path / "run" / "results.json"
    write_json(path, results)
    assert json.loads(path.read_text()) == results
    assert path.read_text().endswith("}\n")
    assert list(path.parent.iterdir()) == [path]
    assert results["versions"]["dccc_lightning"] == __version__
    assert results["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


@pytest.mark.parametrize(
    "rows",
    [ROWS, ROWS[:1], ROWS[1:2], [ROWS[1], ROWS[3]], []],
    ids=["a run", "before training", "one epoch", "no evaluation", "nothing"],
)
def test_the_curves_are_a_picture(tmp_path, rows):
    path = tmp_path / "curves.png"
    plot_curves(rows, path, "a title")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        colours = {colour[:3] for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert list(tmp_path.iterdir()) == [path]
    blue, orange = (0x2F, 0x6D, 0xB3), (0xD9, 0x70, 0x2B)
    assert (blue in colours) == bool(rows)  # at least one line or point was drawn
    assert (orange in colours) == bool(rows)


def test_a_better_run_looks_different(tmp_path):
    plot_curves(ROWS, tmp_path / "a.png", "run")
    plot_curves(ROWS, tmp_path / "b.png", "run")
    plot_curves([*ROWS[:-1], ROWS[-1] | {"val/mAP": 0.8}], tmp_path / "c.png", "run")
    first, again, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == again
    assert first != other
