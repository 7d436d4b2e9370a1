import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.metrics.cluster_summary import summarize
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.neighbors import UnitEmbeddings, embeddings, knn
from dccc_lightning.neighbors.camera_normalization import center, whiten


@given(
    seed=st.integers(0, 10_000),
    dim=st.integers(1, 300),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
@settings(max_examples=40, deadline=None)
def test_rows_of_length_one_that_stay_as_they_are(seed, dim, dtype):
    rows = np.random.default_rng(seed).normal(size=(20, dim)).astype(dtype)
    rows[3] = 0
    unit = UnitEmbeddings.of(rows).rows
    expected = rows.astype(np.float64)
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-30)
    np.testing.assert_allclose(unit, expected, rtol=3e-7)
    assert unit.dtype == np.float32
    again = UnitEmbeddings.of(unit).rows
    np.testing.assert_array_equal(again, unit)  # in every bit: ties stay ties


def test_multiples_of_a_row_become_equal():
    row = np.random.default_rng(0).normal(size=64)
    unit = UnitEmbeddings.of(np.stack([row, 3 * row, row * 2.0**-40, -row])).rows
    np.testing.assert_allclose(unit[1:], [unit[0], unit[0], -unit[0]], rtol=2e-7)


def test_the_caller_keeps_the_features():
    rows = torch.eye(3)
    UnitEmbeddings.of(rows).rows[:] = 5
    np.testing.assert_array_equal(rows, np.eye(3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_names_the_rows_that_are_not_finite(bad):
    rows = np.ones((100_000, 40))  # several blocks
    rows[[7, 60_000, 99_999], 2] = bad
    with pytest.raises(ValueError, match="got NaN or infinity in 3 rows: 7, 60000, 99999"):
        UnitEmbeddings.of(rows)


def test_normalised_embeddings_are_taken_as_they_are():
    unit = UnitEmbeddings.of(torch.rand(5, 3, dtype=torch.bfloat16))
    assert UnitEmbeddings.of(unit) is unit
    assert unit.device == torch.device("cpu")
    assert unit.tensor().data_ptr() == unit.rows.ctypes.data
    chosen = unit[np.array([True, False, True, False, False])]
    np.testing.assert_array_equal(chosen.rows, unit.rows[[0, 2]])
    assert unit[::2].rows.flags.c_contiguous
    empty = UnitEmbeddings.of(np.zeros((0, 3)), may_be_empty=True)
    assert UnitEmbeddings.of(empty, may_be_empty=True) is empty
    with pytest.raises(ValueError, match="features must be a non-empty"):
        UnitEmbeddings.of(empty)


@pytest.mark.parametrize("rows", [np.eye(2), np.ones(3, np.float32), np.eye(3, dtype="f")[:, :2]])
def test_other_arrays_are_refused(rows):
    with pytest.raises(ValueError, match="rows must be C-contiguous float32"):
        UnitEmbeddings(rows)


def people():
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(12), 8)
    rows = np.eye(12)[identities] + 0.1 * rng.standard_normal((96, 12))
    return rows, identities, np.arange(96) % 4


def answers(features):
    """Everything that takes features, in one flat list of arrays."""
    cameras = people()[2]
    found = PseudoLabeler(k1=8, refine=0.1, outliers="attach", camera="proxies")(
        features, FixedSchedule(0.6), 0, cameras, [features]
    )
    yield found.labels
    yield from knn(features, 5)
    yield from summarize(found.labels, features=features).values()
    for adapted in (center(features, cameras), whiten(features, cameras)):
        yield getattr(adapted, "rows", adapted)
    index = GalleryIndex.build(features, [str(row) for row in range(96)], fingerprint="x")
    yield index.embeddings
    yield [hit.score for hits in index.search(features, k=3) for hit in hits]


def test_normalising_before_gives_the_same_numbers_and_happens_once(monkeypatch):
    rows, _, _ = people()
    plain = list(answers(rows))
    unit = UnitEmbeddings.of(rows)
    seen = []
    original = embeddings._normalized
    monkeypatch.setattr(
        embeddings, "_normalized", lambda rows, name: seen.append(rows) or original(rows, name)
    )
    for ours, theirs in zip(answers(unit), plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not [rows for rows in seen if np.array_equal(rows, unit.rows)]


def test_evaluation_takes_normalised_embeddings():
    rows, identities, cameras = people()
    arrays = torch.from_numpy(rows), torch.from_numpy(identities), torch.from_numpy(cameras)
    unit = UnitEmbeddings.of(rows)
    expected = evaluate_retrieval(*(part[:20] for part in arrays), *(part[20:] for part in arrays))
    found = evaluate_retrieval(
        unit[:20], *(part[:20] for part in arrays[1:]), unit[20:], *(p[20:] for p in arrays[1:])
    )
    assert found == expected
    metric = ReIDRetrieval()
    metric.update(unit, *arrays[1:], is_query=torch.arange(96) < 20)
    assert metric.compute() == expected
