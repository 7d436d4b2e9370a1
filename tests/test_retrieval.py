from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from dccc_lightning.metrics import gallery_matches, rank_positions
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.metrics.reranking import Rerank
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.neighbors.similarity import products

GOLDEN = np.load(Path(__file__).parent / "golden" / "dccc_reference.npz", allow_pickle=False)
RANKS = (1, 2, 5, 10, 1000)


def oxford_precision(hits):
    """The trapezoidal area, walked image by image down the ranked list."""
    area, previous_recall, previous_precision, found = 0.0, 0.0, 1.0, 0
    for position, hit in enumerate(hits, start=1):
        found += hit
        recall, precision = found / hits.sum(), found / position
        area += (recall - previous_recall) * (previous_precision + precision) / 2
        previous_recall, previous_precision = recall, precision
    return area


def plain_evaluation(query, gallery, ap="non_interpolated", ranks=RANKS):
    """One query after another, ranking the whole gallery."""
    precisions, penalties, firsts = [], [], []
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query[0], gallery[0])]
    for feature, identity, camera in zip(unit[0], *query[1:], strict=True):
        order = np.argsort(-(unit[1] @ feature), kind="stable")
        match = (gallery[1][order] == identity) & (identity != -1)
        hits = match[~(match & (gallery[2][order] == camera) & (camera != -1))]
        if not hits.any():
            continue
        positions = np.flatnonzero(hits) + 1
        precisions.append(
            np.mean(np.arange(1, len(positions) + 1) / positions)
            if ap == "non_interpolated"
            else oxford_precision(hits)
        )
        penalties.append(len(positions) / positions[-1])
        firsts.append(positions[0])
    result = {"mAP": np.mean(precisions), "mINP": np.mean(penalties)}
    return result | {f"rank{k}": np.mean(np.array(firsts) <= k) for k in ranks}


def images(rng, count, features, identities=6, cameras=3):
    return (
        features(count),
        rng.integers(-1, identities, count),
        rng.integers(-1, cameras, count),
    )


def gaussian(rng):
    return lambda count: rng.standard_normal((count, 4)).astype(np.float32)


def axes(rng):
    """Features along few axes: exact similarities of -1, 0 and 1, ties everywhere."""
    return lambda count: (
        np.eye(4, dtype=np.float32)[rng.integers(4, size=count)]
        * rng.choice([-2.0, 1.0], (count, 1)).astype(np.float32)
    )


def assert_close(actual, expected):
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert actual[name].dtype == torch.float64
        assert actual[name].ndim == 0
        assert actual[name].item() == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("ap", ["non_interpolated", "oxford"])
@pytest.mark.parametrize("features", [gaussian, axes])
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 60), st.sampled_from([1, 5, 64]))
def test_measures_equal_the_plain_loop(ap, features, seed, queries, size, block):
    rng = np.random.default_rng(seed)
    query = images(rng, queries, features(rng))
    gallery = images(rng, size, features(rng))
    query[1][0], query[2][0] = 3, 0  # at least one valid query
    gallery[1][0], gallery[2][0] = 3, 1
    actual = evaluate_retrieval(*query, *gallery, ap=ap, ranks=RANKS, block=block)
    assert_close(actual, plain_evaluation(query, gallery, ap))


def test_recorded_evaluation():
    query = [GOLDEN[f"eval/query_{name}"] for name in ("features", "ids", "cams")]
    gallery = [GOLDEN[f"eval/gallery_{name}"] for name in ("features", "ids", "cams")]
    actual = evaluate_retrieval(*query, *gallery, ranks=range(1, 51))
    assert actual["mAP"].item() == pytest.approx(GOLDEN["eval/mAP"].item(), rel=1e-5)
    cmc = [actual[f"rank{rank}"].item() for rank in range(1, 51)]
    np.testing.assert_allclose(cmc, GOLDEN["eval/cmc"], rtol=1e-12)


def test_average_precision_is_that_of_scikit_learn():
    from sklearn.metrics import average_precision_score  # here: not in every process

    rng = np.random.default_rng(0)
    query = images(rng, 1, gaussian(rng))
    gallery = images(rng, 200, gaussian(rng))
    query[1][0] = 2
    query[2][0] = -1
    scores = gallery[0] @ query[0][0] / np.linalg.norm(gallery[0], axis=1)
    expected = average_precision_score(gallery[1] == 2, scores)
    assert evaluate_retrieval(*query, *gallery)["mAP"].item() == pytest.approx(expected, abs=1e-9)


def test_the_protocol_on_a_ranking_made_by_hand():
    angles = np.deg2rad([0, 10, 20, 30, 40, 50])
    gallery = (
        np.stack([np.cos(angles), np.sin(angles)], 1),
        # same camera: left out; distractor; match; unknown camera: match; unknown identity; match
        np.array([7, 9, 7, 7, -1, 7]),
        np.array([1, 1, 2, -1, 1, 3]),
    )
    query = (np.array([[5.0, 0.0]]), np.array([7]), np.array([1]))
    actual = evaluate_retrieval(*query, *gallery, ranks=(1, 2, 9))
    ranks = [2, 3, 5]
    expected = {
        "mAP": (1 / 2 + 2 / 3 + 3 / 5) / 3,
        "mINP": 3 / ranks[-1],
        "rank1": 0.0,
        "rank2": 1.0,
        "rank9": 1.0,
    }
    assert_close(actual, expected)
    trapezoidal = ((0 + 1 / 2) + (1 / 2 + 2 / 3) + (2 / 4 + 3 / 5)) / 2 / 3
    oxford = evaluate_retrieval(*query, *gallery, ap="oxford")
    assert oxford["mAP"].item() == pytest.approx(trapezoidal)
    unknown_camera = evaluate_retrieval(query[0], query[1], np.array([-1]), *gallery)
    assert unknown_camera["rank1"] == 1


def test_queries_without_a_match_are_skipped():
    gallery = (np.eye(3), np.array([1, 2, -1]), np.array([2, 2, 2]))
    query = (np.eye(3)[[0, 1, 2, 2]], np.array([1, 2, 5, -1]), np.array([1, 2, 1, 1]))
    assert evaluate_retrieval(*query, *gallery)["mAP"] == 1.0
    with pytest.raises(ValueError, match="no valid query"):
        evaluate_retrieval(np.eye(3)[[0, 1]], np.array([5, 2]), np.array([1, 2]), *gallery)


def test_a_split_of_one_camera_counts_when_it_is_unknown():
    features = np.eye(3)[[0, 0, 1]]
    split = features[:1], np.array([7]), features[1:], np.array([7, 8])
    same = np.array([3]), np.array([3, 3])
    with pytest.raises(ValueError, match="no valid query"):
        evaluate_retrieval(*split[:2], same[0], *split[2:], same[1])
    unknown = np.array([-1]), np.array([-1, -1])
    assert evaluate_retrieval(*split[:2], unknown[0], *split[2:], unknown[1])["mAP"] == 1


def test_distractors_stand_between_a_query_and_its_match():
    angles = np.deg2rad([0, 1, 2, 3])
    gallery = np.stack([np.cos(angles), np.sin(angles)], 1)
    query = (np.array([[1.0, 0.0]]), np.array([7]), np.array([1]))
    for distractors in (0, -1):  # the identity 0 of Market-1501's distractors, or an unknown one
        identities = np.array([distractors, distractors, 7, distractors])
        actual = evaluate_retrieval(*query, gallery, identities, np.array([1, 2, 2, 1]))
        assert actual["mAP"].item() == pytest.approx(1 / 3)


def test_the_score_matrix_never_exceeds_a_block(monkeypatch):
    shapes = []
    original = gallery_matches.positions
    monkeypatch.setattr(
        gallery_matches,
        "positions",
        lambda s, *_: (shapes.append(tuple(s.shape)), original(s, *_))[1],
    )
    rng = np.random.default_rng(0)
    evaluate_retrieval(*images(rng, 10, gaussian(rng)), *images(rng, 30, gaussian(rng)), block=4)
    assert shapes == [(4, 30), (4, 30), (2, 30)]


def plain_positions(scores, rows, columns):
    """Rank every row as a whole."""
    return [
        int(np.flatnonzero(np.argsort(-scores[i], kind="stable") == j)[0])
        for i, j in zip(rows, columns, strict=True)
    ]


def coarse(rng, shape):
    return rng.integers(-3, 4, shape) / 4  # ties everywhere


def clustered_scores(rng, shape):
    """Differences far below the buckets' width between entries far apart."""
    return rng.choice([-1, 0.5, 0.5 + 1e-7, 1], shape) + 1e-9 * rng.integers(-3, 4, shape)


def denormal(rng, shape):
    return rng.integers(-2, 3, shape) * 1e-44


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [coarse, clustered_scores, denormal, np.random.Generator.normal])
@pytest.mark.parametrize("place", [rank_positions.positions, rank_positions._by_sorting])
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 200), st.floats(0.01, 1))
def test_positions_are_those_of_a_stable_sort(place, make, dtype, seed, height, width, share):
    rng = np.random.default_rng(seed)
    if make is np.random.Generator.normal:
        scores = rng.normal(size=(height, width)).astype(dtype)
    else:
        scores = make(rng, (height, width)).astype(dtype)
    chosen = rng.random((height, width)) < share
    chosen[rng.integers(height), rng.integers(width)] = True
    scores[(rng.random((height, width)) < 0.1) & ~chosen] = -np.inf
    rows, columns = chosen.nonzero()
    order = np.lexsort((rng.random(len(rows)), rows))  # columns in any order
    arguments = [torch.from_numpy(part) for part in (scores, rows[order], columns[order])]
    assert place(*arguments).tolist() == plain_positions(scores, rows[order], columns[order])


def test_half_precision_and_autocast_rank_in_float32():
    rng = np.random.default_rng(0)
    query, gallery = images(rng, 9, gaussian(rng)), images(rng, 50, gaussian(rng))
    coarse = [torch.from_numpy(part[0]).bfloat16() for part in (query, gallery)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = evaluate_retrieval(coarse[0], *query[1:], coarse[1], *gallery[1:], ranks=RANKS)
    exact = [part.float().numpy() for part in coarse]
    assert_close(actual, plain_evaluation((exact[0], *query[1:]), (exact[1], *gallery[1:])))


def test_products_take_full_precision_whatever_the_setting():
    seen = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if "matmul" in function.__name__:
                seen.append(torch.get_float32_matmul_precision())
            return function(*args, **(kwargs or {}))

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with Watch():
            products(torch.ones(2, 3), torch.ones(4, 3))
        assert seen == ["highest"]
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("features", [gaussian, axes])
def test_cuda_gives_the_measures_of_the_cpu(features):
    rng = np.random.default_rng(0)
    query, gallery = images(rng, 40, features(rng)), images(rng, 90, features(rng))
    actual = evaluate_retrieval(
        *(torch.from_numpy(part).cuda() for part in query + gallery), ranks=RANKS
    )
    assert_close(actual, plain_evaluation(query, gallery))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gallery_features": np.ones((0, 4)), "gallery_identities": [], "gallery_cameras": []},
         "gallery is empty"),
        ({"query_features": np.ones((0, 4)), "query_identities": [], "query_cameras": []},
         "query set is empty"),
        ({"query_features": np.ones((1, 3))}, "one size"),
        ({"query_features": np.full((1, 4), np.nan)}, "query_features must be finite.* 1 rows: 0"),
        ({"gallery_features": np.array([[1, 0, 0, 0], [0, np.inf, 0, 0]])},
         "gallery_features must be finite.* 1 rows: 1"),
        ({"query_cameras": [2]}, "no valid query"),
        ({"query_identities": [1, 2]}, "query_identities"),
        ({"rerank": Rerank(k1=3, k2=1)}, "k1 must be below .* 3, got 3"),
        ({"gallery_cameras": [1]}, "gallery_cameras"),
        ({"query_features": np.ones(4)}, "query_features"),
        ({"ap": "voc"}, "ap must be"),
        ({"ranks": (0,)}, "ranks"),
        ({"block": 0}, "block"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused(change, message):
    arguments = {
        "query_features": np.ones((1, 4)),
        "query_identities": [1],
        "query_cameras": [1],
        "gallery_features": np.ones((2, 4)),
        "gallery_identities": [1, 1],
        "gallery_cameras": [2, 2],
    }
    assert evaluate_retrieval(**arguments)["mAP"] == 1
    with pytest.raises(ValueError, match=message):
        evaluate_retrieval(**arguments | change)


def a_split(features=axes, queries=9, size=40, seed=4):
    """A query set and a gallery in one list, with the position of each image in its split."""
    rng = np.random.default_rng(seed)
    both = images(rng, queries + size, features(rng))
    rows = dict(
        zip(("features", "identities", "cameras"), map(torch.from_numpy, both), strict=True)
    )
    rows["is_query"] = torch.arange(queries + size) < queries
    rows["indices"] = torch.cat([torch.arange(queries), torch.arange(size)])
    return rows, plain_evaluation(
        [part[:queries] for part in both], [part[queries:] for part in both], ranks=(1, 5, 10)
    )


def feed(metric, rows, order, batch=7):
    for part in order.split(batch):
        metric.update(**{name: column[part] for name, column in rows.items()})


def test_indices_restore_the_order_and_remove_duplicates():
    rows, expected = a_split()
    metric = ReIDRetrieval()
    shuffled = torch.randperm(49, generator=torch.Generator().manual_seed(0))
    feed(metric, rows, torch.cat([shuffled, shuffled[:11]]))
    assert_close(metric.compute(), expected)
    metric.reset()
    with pytest.raises(ValueError, match="no images"):
        metric.compute()


def test_without_indices_the_order_of_arrival_counts():
    rows, expected = a_split()
    del rows["indices"]
    metric = ReIDRetrieval()
    feed(metric, rows, torch.arange(49))
    assert_close(metric.compute(), expected)
    feed(metric, rows | {"indices": torch.arange(49)}, torch.arange(49))
    with pytest.raises(ValueError, match="indices"):
        metric.compute()


def test_metric_passes_its_settings_on():
    rows, _ = a_split(gaussian)
    metric = ReIDRetrieval(ap="oxford", ranks=(3,))
    feed(metric, rows, torch.arange(49))
    both = [rows[name].numpy() for name in ("features", "identities", "cameras")]
    expected = plain_evaluation([b[:9] for b in both], [b[9:] for b in both], "oxford", (3,))
    assert_close(metric.compute(), expected)


def test_metric_refuses_wrong_input():
    metric = ReIDRetrieval()
    one = torch.ones(1, dtype=torch.long)
    with pytest.raises(ValueError, match="features"):
        metric.update(torch.ones(3), one, one, one)
    with pytest.raises(ValueError, match="cameras"):
        metric.update(torch.ones(1, 3), one, torch.ones(2), one)
    metric.update(torch.ones(1, 3), one, one, one.bool())
    with pytest.raises(ValueError, match="gallery is empty"):
        metric.compute()
    with pytest.raises(ValueError, match="ap must be"):
        ReIDRetrieval(ap="voc")


def evaluate_shards(rank, world, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world
    )
    rows, _ = a_split()
    order = torch.randperm(49, generator=torch.Generator().manual_seed(1))
    # Uneven shards, scattered, with images 0 to 4 seen by both processes; then all images in one.
    for name, shards in {
        "uneven": (order[:13], torch.cat([order[13:], torch.arange(5)])),
        "first_empty": (order[:0], order),
        "last_empty": (order, order[:0]),
    }.items():
        metric = ReIDRetrieval()
        feed(metric, rows, shards[rank], batch=25)
        torch.save(metric.compute(), f"{folder}/{name}{rank}.pt")
        assert sum(map(len, metric.features)) == len(shards[rank])  # its own images alone again
    metric = ReIDRetrieval()
    with pytest.raises(ValueError, match="no images"):
        metric.compute()
    dist.destroy_process_group()


@pytest.mark.ddp
@pytest.mark.slow  # importing torchmetrics takes each process some ten seconds
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_two_processes_give_the_numbers_of_one(tmp_path):
    mp.spawn(evaluate_shards, args=(2, str(tmp_path)), nprocs=2)
    _, expected = a_split()
    for name in ("uneven", "first_empty", "last_empty"):
        for rank in range(2):
            assert_close(torch.load(tmp_path / f"{name}{rank}.pt"), expected)


def test_a_process_without_images_gathers_what_the_others_hold():
    # The other process is played: its states arrive in the order in which they are gathered.
    rows, expected = a_split()
    theirs = [torch.tensor([0, rows["features"].shape[1]])] + [
        rows[name] for name in ("features", "identities", "cameras", "is_query", "indices")
    ]
    theirs.append(torch.full((len(rows["features"]), 4), -1))  # the other labels
    arriving = iter(theirs + theirs)

    def gather(own, group=None):
        other = next(arriving)
        assert (own.ndim, own.dtype) == (other.ndim, other.dtype)
        assert own.shape[1:] == other.shape[1:]
        return [own, other]

    metric = ReIDRetrieval()
    metric.distributed_available_fn = lambda: True
    metric.dist_sync_fn = gather
    with pytest.warns(UserWarning, match="compute"):
        assert_close(metric.compute(), expected)
    assert metric.features == []
    query, gallery = metric.gathered()  # as for queries.parquet: fewer queries than processes
    assert torch.equal(query, rows["features"][rows["is_query"]])
    assert torch.equal(gallery, rows["features"][~rows["is_query"]])
    assert metric.features == []
