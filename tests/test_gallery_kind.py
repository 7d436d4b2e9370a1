"""Which search a large gallery gets, and what a damaged faiss file may ask for."""

import faiss
import numpy as np
import pytest

from dccc_lightning.gallery import approximate_search, gallery_search, search_pilot
from dccc_lightning.gallery.approximate_search import CandidateIndex
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.gallery.gallery_search import GallerySearch

N, DIM = 2000, 24


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def anywhere():
    """Rows without structure."""
    return unit(np.random.default_rng(0).standard_normal((N, DIM)))


@pytest.fixture(scope="module")
def clustered():
    """Rows of people, twenty images each."""
    rng = np.random.default_rng(0)
    return unit(np.repeat(rng.standard_normal((N // 20, DIM)), 20, axis=0)
                + 0.1 * rng.standard_normal((N, DIM)))  # fmt: skip


@pytest.fixture
def from_1000_on(monkeypatch):
    """Let galleries of more than 1,000 images be large ones."""
    monkeypatch.setattr(approximate_search, "FLAT_UP_TO", 1000)


def auto(rows):
    paths = [f"{number}.jpg" for number in range(len(rows))]
    return GalleryIndex.build(rows, paths, fingerprint="f" * 16)


def lists_to_compare(rows, queries, neighbors):
    """The obvious way: probe lists until 95 % of the queries' neighbours are in them."""
    lists = min(256, len(rows) // 64)
    sample = np.random.default_rng(0).choice(len(rows), lists * 64, replace=False)
    kmeans = faiss.Kmeans(rows.shape[1], lists, niter=10, seed=1, max_points_per_centroid=64)
    kmeans.train(rows[np.sort(sample)])
    member = ((rows[:, None] - kmeans.centroids) ** 2).sum(axis=2).argmin(axis=1)
    needed, shares = [], []
    for own, others in zip(queries, neighbors, strict=True):
        order = ((kmeans.centroids - rows[own]) ** 2).sum(axis=1).argsort().tolist()
        needed += [order.index(member[i]) for i in others]
        shares.append([np.isin(member, order[: p + 1]).mean() for p in range(lists)])
    probes = sorted(needed)[int(np.ceil(0.95 * len(needed))) - 1]
    return np.mean(shares, axis=0)[probes]


def test_the_share_to_compare_is_that_of_probing_lists(anywhere, clustered):
    found = []
    for rows in (anywhere, clustered):
        queries = np.arange(0, N, 20)
        scores = rows[queries] @ rows.T
        scores[np.arange(len(queries)), queries] = -2
        neighbors = list(np.argsort(-scores, axis=1)[:, :10])
        found.append(search_pilot.share_compared(rows, queries, neighbors, 0.95))
        assert found[-1] == pytest.approx(lists_to_compare(rows, queries, neighbors), abs=0.02)
        assert found[-1] == search_pilot.share_compared(rows, queries, neighbors, 0.95)
    assert found[0] > 0.5
    assert found[1] < gallery_search.MOST_COMPARED


def test_rows_without_structure_are_compared_all_and_nothing_is_built(
    anywhere, from_1000_on, monkeypatch
):
    monkeypatch.setattr(CandidateIndex, "build", lambda *_: pytest.fail("minutes for nothing"))
    index = auto(anywhere)
    assert (index.kind, index.recall) == ("flat", 1.0)
    assert index.measured["share compared"] > 0.5


@pytest.mark.parametrize(
    ("alone", "at_once", "kind"), [(2, 2, "ivf"), (9, 2, "flat"), (2, 9, "flat"), (5, 5, "flat")]
)
def test_the_faster_search_is_taken(
    clustered, from_1000_on, monkeypatch, tmp_path, alone, at_once, kind
):
    def milliseconds(search, count, is_alone):
        return 5.0 if search.proposals is None else float(alone if is_alone else at_once)

    monkeypatch.setattr(GallerySearch, "milliseconds", milliseconds)
    index = auto(clustered)
    assert index.kind == kind
    assert index.measured["ivf ms alone"] == alone
    assert index.measured["flat ms at once"] == 5
    index.save(tmp_path / "g")
    assert GalleryIndex.load(tmp_path / "g").kind == kind


def test_a_kind_that_is_asked_for_is_built(anywhere, from_1000_on):
    search = GallerySearch.build("ivf", anywhere, np.arange(N))
    assert (search.kind, search.measured) == ("ivf", {})
    assert search.recall >= 0.95
    assert search.recall == search.measure_recall()


def test_times_are_of_a_query(clustered, monkeypatch):
    search = GallerySearch.build("flat", clustered, np.arange(N))
    asked = []
    nearest = search.nearest
    monkeypatch.setattr(
        search, "nearest", lambda q, *rest: asked.append(len(q)) or nearest(q, *rest)
    )
    assert 0 < search.milliseconds(8, True) < 1000
    assert 0 < search.milliseconds(64, False) < 1000
    assert asked == [1] * 24 + [64] * 3


@pytest.fixture(scope="module")
def contents(clustered):
    """A file of each kind."""
    kinds, rows = ("ivf", "pq", "hnsw"), clustered[:500]
    return {kind: CandidateIndex.build(kind, rows, np.arange(500)).to_bytes() for kind in kinds}


class TestLimits:
    @pytest.mark.parametrize("kind", ["ivf", "pq", "hnsw"])
    def test_whole_files_are_read_and_the_process_keeps_its_limits(self, contents, kind):
        before = (
            faiss.get_deserialization_loop_limit(),
            faiss.get_deserialization_vector_byte_limit(),
        )
        assert CandidateIndex.from_bytes(kind, contents[kind], 1, DIM).index.ntotal == 500
        with pytest.raises(ValueError, match="faiss"):
            CandidateIndex.from_bytes(kind, contents[kind][:-9], 1, DIM)
        after = (
            faiss.get_deserialization_loop_limit(),
            faiss.get_deserialization_vector_byte_limit(),
        )
        assert after == before

    @pytest.mark.parametrize("kind", ["ivf", "hnsw"])
    def test_an_emptied_structure_is_read(self, clustered, kind):
        rows, ids = clustered[:200], np.arange(200)
        built = CandidateIndex.build(kind, rows, ids)
        built.remove(ids, ids[:0])
        assert CandidateIndex.from_bytes(kind, built.to_bytes(), 1, DIM).kind == kind

    def test_a_table_too_large_for_faiss_is_no_damage(self, contents, monkeypatch):
        monkeypatch.setattr(faiss.cvar, "precomputed_table_max_bytes", 1000)
        assert CandidateIndex.from_bytes("pq", contents["pq"], 1, DIM).kind == "pq"

    def test_a_length_beyond_the_file_is_refused_before_it_is_asked_for(self, contents):
        # The links of the graph, a vector of 4-byte numbers, claim to be 8 GB.
        content = bytearray(contents["hnsw"])
        whole = faiss.deserialize_index(np.frombuffer(bytes(content), np.uint8))
        links = faiss.downcast_index(whole.index).hnsw.neighbors.size()
        at = content.index(2 * links.to_bytes(8, "little")) + 8  # after the last offset
        content[at : at + 8] = (1 << 31).to_bytes(8, "little")
        with pytest.raises(ValueError, match="faiss cannot read its part") as refused:
            CandidateIndex.from_bytes("hnsw", bytes(content), 1, DIM)
        assert "byte_limit" in str(refused.value.__cause__)

    def test_more_lists_than_the_file_has_room_for_are_refused(self, contents):
        content = bytearray(contents["ivf"])
        lists = faiss.deserialize_index(np.frombuffer(bytes(content), np.uint8)).nlist
        at = content.index(lists.to_bytes(8, "little"))
        content[at : at + 8] = (1 << 30).to_bytes(8, "little")
        with pytest.raises(ValueError, match="faiss cannot read its part") as refused:
            CandidateIndex.from_bytes("ivf", bytes(content), 1, DIM)
        assert "deserialization_loop_limit" in str(refused.value.__cause__)
