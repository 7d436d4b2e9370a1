"""Adaptive DCPS: eps from the distances of an epoch."""

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from dccc_lightning.clustering import pseudo_labels
from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.clustering.dcps import Choice, FixedSchedule, GraphSchedule
from dccc_lightning.clustering.experimental import adaptive
from dccc_lightning.clustering.experimental.adaptive import CRITERIA, AdaptiveSchedule
from dccc_lightning.clustering.experimental.core_distances import core_distances
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.reports.metrics_table import read_rows
from dccc_lightning.training.callbacks.eps_curves import EpsCurves
from dccc_lightning.training.callbacks.recluster import Recluster
from test_algorithms import as_graph as graph_of
from test_ddp import run


def as_graph(dense, max_distance=0.75):
    return graph_of(dense, max_distance)


def random_distances(seed, n=40):
    rng = np.random.default_rng(seed)
    points = np.round(rng.random((n, 2)), 2) * 1.2  # ties
    points[: n // 4] = points[np.arange(n // 4) // 4]  # and images that are there four times
    return np.abs(points[:, None] - points[None]).sum(-1)


def blocks(within, between, sizes=(12, 12, 12), seed=0):
    """Distances of clusters, around one mean within and another between them."""
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(len(sizes)), sizes)
    one = names[:, None] == names[None]
    dense = np.where(one, within, between) + 0.02 * rng.standard_normal(one.shape)
    dense = np.triu(np.clip(dense, 0.01, 1), 1)
    return dense + dense.T, names


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 32))[np.repeat(np.arange(30), 12)]
    return rows + 0.9 * rng.normal(size=rows.shape)


@pytest.fixture(scope="module")
def graph(features):
    return jaccard_graph(features, 20, 6, 0.75)


# References, as plain as can be.


def slow_knee(dense, eps, k, start):
    distances = [sorted(row)[k - 1] for row in np.asarray(dense, dtype=np.float32)]
    within = sum(d <= np.float32(eps) for d in distances)
    none, all_of_them = sum(d <= 0 for d in distances), sum(d <= start for d in distances)
    return (within - none) / max(all_of_them - none, 1) - eps / start


def slow_density(dense, eps, width, max_distance):
    total = mass = 0.0
    for i in range(len(dense)):
        for j in range(len(dense)):
            if i != j and dense[i, j] <= max_distance:
                total += np.exp(-(((dense[i, j] - eps) / width) ** 2) / 2)
                mass += 1
    places = np.linspace(0, max_distance, 2001)
    return total / mass / np.trapezoid(np.exp(-(((places - eps) / width) ** 2) / 2), places)


def slow_valley(dense, eps, width, max_distance, floor, step):
    places = np.arange(floor, max_distance, step)
    hills = [slow_density(dense, place, width, max_distance) for place in places]
    here = slow_density(dense, eps, width, max_distance)
    left = max([here, *(hill for place, hill in zip(places, hills, strict=True) if place < eps)])
    right = max([here, *(hill for place, hill in zip(places, hills, strict=True) if place > eps)])
    return min(left, right) - here


def singles(labels):
    return [label if label >= 0 else -2 - i for i, label in enumerate(labels.tolist())]


def slow_stability(graph, eps, apart):
    def clustered(eps):
        return singles(DBSCAN().fit_predict(graph, eps))

    near = clustered(eps)
    if len({label for label in near if label >= 0}) < 2:
        return 0
    sides = [eps - apart] if eps - apart > 1e-6 else []
    if eps + apart <= graph.max_distance + 1e-6:
        sides.append(min(eps + apart, graph.max_distance))
    return np.mean([adjusted_rand_score(near, clustered(side)) for side in sides] or [0])


# The criteria


@given(seed=st.integers(0, 10_000), k=st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_the_core_distance_is_the_kth_of_a_sorted_row(seed, k):
    dense = random_distances(seed).astype(np.float32)
    expected = np.sort(dense, axis=1)[:, k - 1]
    expected[expected > np.float32(0.3)] = np.inf
    np.testing.assert_array_equal(core_distances(as_graph(dense, 0.3), k), expected)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=4, deadline=None)
def test_every_score_equals_its_slow_reference(seed):
    dense = random_distances(seed)
    graph = as_graph(dense)
    for criterion, slow, tolerance in (
        ("knee", lambda eps: slow_knee(dense, eps, 3, 0.61), 1e-9),
        ("stability", lambda eps: slow_stability(graph, eps, 0.06), 1e-9),
    ):
        schedule = AdaptiveSchedule(0.61, 0.31, criterion, 0.03, neighbors=3, reach=2)
        choice = schedule.choose(graph, DBSCAN(), 0)
        assert choice.candidates == pytest.approx(np.linspace(0.31, 0.61, 11))
        expected = [slow(eps) for eps in choice.candidates]
        assert choice.scores == pytest.approx(expected, abs=tolerance), criterion
        top = max(choice.scores)
        last = max(i for i, score in enumerate(choice.scores) if score == top)
        assert choice.eps == choice.candidates[last]


@pytest.mark.parametrize("means", [(0.35, 0.6), (0.2, 0.5)])
def test_the_score_of_a_valley_is_its_depth_below_the_lower_hill(monkeypatch, means):
    monkeypatch.setattr(adaptive, "_BINS", 200)
    dense, _ = blocks(*means)
    graph = as_graph(dense)
    choice = AdaptiveSchedule(0.61, 0.31, "valley", 0.03, reach=2).choose(graph, DBSCAN(), 0)
    expected = [slow_valley(dense, eps, 0.06, 0.75, 0.31, 0.03) for eps in choice.candidates]
    assert choice.scores == pytest.approx(expected, abs=2e-3)
    assert max(choice.scores) > 0.05
    assert choice.eps == choice.candidates[len(expected) - 1 - int(np.argmax(expected[::-1]))]


@pytest.mark.parametrize(
    ("max_distance", "floor", "top", "step"),
    [
        (0.75, 0.1, 0.7, 0.1),
        pytest.param(0.75, 0.31, 0.61, 0.03, marks=pytest.mark.slow),
        pytest.param(0.62, 0.31, 0.61, 0.03, marks=pytest.mark.slow),
    ],
)
def test_stability_takes_no_candidate_for_its_own_neighbour(
    features, max_distance, floor, top, step
):
    graph = jaccard_graph(features, 20, 6, max_distance)
    choice = AdaptiveSchedule(top, floor, "stability", step, reach=2).choose(graph, DBSCAN(), 0)
    expected = [slow_stability(graph, eps, 2 * step) for eps in choice.candidates]
    assert choice.scores == pytest.approx(expected, abs=1e-9)
    assert len(set(choice.scores)) > 3


def test_at_the_lowest_eps_that_there_is_stability_looks_above_alone():
    """Labels at 0.1 were compared with those at 0.1, for there are none at 0."""
    dense, _ = blocks(0.05, 0.3)  # at 0.1 three clusters, from 0.4 on one
    graph = as_graph(dense)
    choice = AdaptiveSchedule(0.7, 0.1, "stability", 0.1, reach=3).choose(graph, DBSCAN(), 0)
    expected = [slow_stability(graph, eps, 0.3) for eps in choice.candidates]
    assert choice.scores == pytest.approx(expected, abs=1e-9)
    assert choice.scores[0] == pytest.approx(0)


@pytest.mark.parametrize("criterion", [name for name in CRITERIA if name != "largest_share"])
@pytest.mark.parametrize(("within", "between"), [(0.3, 0.6), (0.45, 0.7)])
def test_eps_lies_between_the_distances_within_and_between_clusters(criterion, within, between):
    dense, names = blocks(within, between)
    graph = as_graph(dense, 0.75)
    choice = AdaptiveSchedule(0.7, 0.2, criterion).choose(graph, DBSCAN(), 0)
    assert within - 0.03 < choice.eps < between
    np.testing.assert_array_equal(DBSCAN().fit_predict(graph, choice.eps), names)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_choice_follows_the_distribution_and_not_the_epoch(criterion):
    schedule = AdaptiveSchedule(0.74, 0.2, criterion)
    near, far = (as_graph(blocks(*means)[0]) for means in ((0.25, 0.5), (0.5, 0.74)))
    first = schedule.choose(near, DBSCAN(), 0)
    assert first == schedule.choose(near, DBSCAN(), 40)
    assert first.eps < schedule.choose(far, DBSCAN(), 40).eps


@pytest.mark.parametrize("criterion", CRITERIA)
@given(seed=st.integers(0, 1000), floor=st.floats(0.05, 0.6), width=st.floats(0, 0.3))
@settings(max_examples=8, deadline=None)
def test_the_choice_is_within_its_bounds_and_blind_to_the_order(criterion, seed, floor, width):
    start = min(floor + width, 0.75)
    schedule = AdaptiveSchedule(start, floor, criterion)
    dense = random_distances(seed)
    choice = schedule.choose(as_graph(dense), DBSCAN(), 0)
    assert floor <= choice.eps <= start
    assert choice.candidates[0] == floor
    assert choice.candidates[-1] == start
    order = np.random.default_rng(seed).permutation(len(dense))
    again = schedule.choose(as_graph(dense[order][:, order]), DBSCAN(), 0)
    if criterion != "stability":  # a border point between two clusters goes to the first of them
        assert again.scores == pytest.approx(choice.scores, abs=1e-12)


def test_on_a_slope_there_is_no_valley():
    slope = np.minimum(np.triu(np.random.default_rng(0).random((80, 80)) ** 0.4, 1), 0.999)
    schedule = AdaptiveSchedule(0.65, 0.4, "valley", reach=5)
    choice = schedule.choose(as_graph(slope + slope.T), DBSCAN(), 0)
    assert choice.eps == 0.65
    assert choice.scores[-1] == 0


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("dense", [np.zeros((9, 9)), 1 - np.eye(9)], ids=["collapsed", "strangers"])
def test_graphs_without_any_shape_have_a_choice(criterion, dense):
    choice = AdaptiveSchedule(0.6, 0.4, criterion).choose(as_graph(dense), DBSCAN(), 0)
    assert 0.4 <= choice.eps <= 0.6
    assert np.isfinite(choice.scores).all()


def test_people_of_few_images_leave_the_knee_at_the_start():
    """Nobody has ten neighbours here: there is no curve to read."""
    people = np.repeat(np.arange(20), 6)
    dense = np.where(people[:, None] == people, 0.5, 1.0) * (1 - np.eye(120))
    assert AdaptiveSchedule(0.6, 0.4).choose(as_graph(dense), DBSCAN(), 0).eps == 0.6


# In the labeler and around it


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_labeler_clusters_at_the_chosen_eps(criterion, features, graph):
    schedule = AdaptiveSchedule(0.7, 0.3, criterion)
    found = PseudoLabeler(k1=20)(features, schedule, 3)
    choice = schedule.choose(graph, DBSCAN(), 3)
    assert found.choice == choice
    assert found.eps == found.scheduled_eps == choice.eps < 0.7
    np.testing.assert_array_equal(found.labels, DBSCAN().fit_predict(graph, choice.eps))


def test_one_graph_serves_all_candidates(monkeypatch, features):
    built = []

    def count(*args):
        built.append(args[3])
        return jaccard_graph(*args)

    monkeypatch.setattr(pseudo_labels, "jaccard_graph", count)
    PseudoLabeler(k1=20)(features, AdaptiveSchedule(criterion="stability"), 0)
    assert built == [pytest.approx(0.75)]


def test_where_the_choice_gives_no_clusters_eps_moves_as_with_any_schedule(caplog):
    class Picky:
        def fit_predict(self, graph, eps):
            half = len(graph) // 2
            return np.repeat([0, 1] if eps < 0.395 else [0, 0], [half, len(graph) - half])

    rows = np.random.default_rng(0).normal(size=(40, 8))
    found = PseudoLabeler(k1=10, algorithm=Picky())(rows, AdaptiveSchedule(0.41, 0.40), 0)
    assert found.adjusted
    assert found.choice is not None
    assert found.scheduled_eps == found.choice.eps
    assert found.eps < 0.395
    assert "fewer than two clusters" in caplog.text


def test_schedules_of_the_clock_have_no_choice(features):
    assert not isinstance(FixedSchedule(), GraphSchedule)
    assert isinstance(AdaptiveSchedule(), GraphSchedule)
    assert PseudoLabeler(k1=20)(features, FixedSchedule(0.5), 0).choice is None


def test_without_distances_the_start_holds():
    schedule = AdaptiveSchedule(0.65, 0.35)
    assert [schedule(epoch) for epoch in (0, 50)] == [0.65, 0.65]
    assert schedule.bounds == (0.35, 0.65)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


def test_the_curve_of_every_epoch_is_a_line_of_a_file(tmp_path):
    recluster = Recluster(AdaptiveSchedule(), PseudoLabeler())
    curves = EpsCurves(tmp_path)
    trainer = SimpleNamespace(callbacks=[curves, recluster], is_global_zero=True)
    for _ in range(2):  # fit after validate
        curves.setup(trainer, None, "fit")
    assert len(recluster.watchers) == 1

    def clustered(epoch, choice):
        recluster.choice = choice
        recluster.watchers[0](epoch, None, None, None, 0.5)

    path = tmp_path / "eps_curves.jsonl"
    clustered(0, None)
    assert not path.exists()
    for epoch, eps in ((0, 0.5), (1, 0.6), (2, 0.4), (1, 0.5)):  # resumed before epoch 1
        clustered(epoch, Choice(eps, "knee", (0.4, 0.5, 0.6), (0.1, 0.2, 0.1)))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["epoch"], line["eps"]) for line in lines] == [(0, 0.5), (1, 0.5)]
    assert lines[0]["candidates"] == [0.4, 0.5, 0.6]
    assert lines[0]["scores"] == [0.1, 0.2, 0.1]
    clustered(1, None)  # resumed with a schedule that does not look at the distances
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [0]
    clustered(0, None)
    assert not path.exists()


@pytest.mark.slow
def test_a_run_logs_what_it_chose(command, tiny, tmp_path):
    outcome = command(*tiny, "scheduler=adaptive", "scheduler.criterion=stability", "output=run")
    assert outcome.code == 0, outcome.err
    text = (tmp_path / "run" / "eps_curves.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1]
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    logged = [row["cluster/scheduled_eps"] for row in rows if row["epoch"] >= 0]
    assert logged == pytest.approx([line["eps"] for line in lines])
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("score by stability") == 2  # the heading, and the chart for those who listen
    assert all(f"epoch {n + 1}, eps {line['eps']:.3f}" in page for n, line in enumerate(lines))


LENGTH = ["scheduler=adaptive", "batch.clusters=8", "batch.instances=8", "epochs=3"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny):
    """Hold the run that others are compared with."""
    folder = tmp_path_factory.mktemp("adaptive")
    outcome = run(folder, *tiny, *LENGTH, "output=run")
    assert outcome.returncode == 0, outcome.stderr
    return folder / "run"


@pytest.mark.slow
def test_a_resumed_run_chooses_as_an_uninterrupted_one(whole, tiny, tmp_path):
    for arguments in ([*tiny, *LENGTH, "epochs=2", "output=run"], ["resume=run", "epochs=3"]):
        outcome = run(tmp_path, *arguments)
        assert outcome.returncode == 0, outcome.stderr
    for name in ("eps_curves.jsonl", "metrics.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
@pytest.mark.ddp
def test_two_processes_choose_as_one(whole, tiny, tmp_path):
    outcome = run(tmp_path, *tiny, *LENGTH, "output=run", "trainer.devices=2")
    assert outcome.returncode == 0, outcome.stderr
    one, two = (
        [json.loads(line)["eps"] for line in (folder / "eps_curves.jsonl").read_text().splitlines()]
        for folder in (whole, tmp_path / "run")
    )
    assert len(two) == 3
    assert one == two


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"floor": 0.8}, "floor must be at most start"),
        ({"start": 1.0}, "start must be in"),
        ({"criterion": "elbow"}, "criterion must be one of knee, valley, stability"),
        ({"step": 0.0}, "step must be in"),
        ({"neighbors": 1}, "neighbors must be at least 2"),
        ({"reach": 0}, "reach must be at least 1"),
        ({"reach": 71, "step": 0.01, "start": 0.7}, "reach must be at most 70"),
    ],
)
def test_refuses_what_makes_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveSchedule(**arguments)


def test_largest_share_is_the_largest_eps_without_a_giant_cluster() -> None:
    chain = np.abs(np.subtract.outer(np.arange(60), np.arange(60))) * 0.01 + 0.3
    np.fill_diagonal(chain, 0)
    apart, _ = blocks(0.1, 0.9, sizes=(6,) * 10)  # ten clusters of six, a chain beyond 0.3
    dense = np.minimum(apart, chain)
    graph = as_graph(dense)
    schedule = AdaptiveSchedule(0.7, 0.1, criterion="largest_share", share=0.15)
    choice = schedule.choose(graph, DBSCAN(), 0)

    def largest(eps: float) -> int:
        labels = DBSCAN().fit_predict(graph, eps)
        return int(np.bincount(labels[labels >= 0], minlength=1).max())

    good = [eps for eps in choice.candidates if largest(eps) <= 0.15 * 60]
    assert choice.eps == max(good) < 0.7
    assert largest(0.7) == 60


def test_largest_share_without_a_good_eps_is_the_start() -> None:
    one, _ = blocks(0.05, 0.9, sizes=(40,))
    schedule = AdaptiveSchedule(0.7, 0.4, criterion="largest_share")
    choice = schedule.choose(as_graph(one), DBSCAN(), 0)
    assert choice.eps == 0.7  # all are one cluster at every eps: no eps is better
    assert max(choice.scores) == pytest.approx(0.1 - 1.0)
