"""Searching a gallery, against comparing all with all; its folder, whole or refused."""

import json
import math
import pickle
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.errors import UserError
from dccc_lightning.gallery import approximate_search, storage
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.gallery.gallery_table import names
from dccc_lightning.gallery.manifest import MANIFEST

MODEL = "0123456789abcdef"


def people(n, dim=16, seed=0, identities=None):
    """Embeddings that lie about as those of people do: by identity."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((identities or max(1, n // 8), dim))
    rows = centres[rng.integers(len(centres), size=n)] + 0.5 * rng.standard_normal((n, dim))
    return rows.astype(np.float32)


def build(rows, kind="flat", **facts):
    paths = [f"{i:04d}.jpg" for i in range(len(rows))]
    return GalleryIndex.build(rows, paths, fingerprint=MODEL, kind=kind, **facts)


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def ranking(query, gallery, k, eligible):
    """The obvious way: every distance by a loop, sorted by score and then by position."""
    scores = []
    for row in gallery:
        total = 0.0
        for a, b in zip(query.tolist(), row.tolist(), strict=True):
            total += (a - b) ** 2
        scores.append(1 - float(np.float32(total)) / 2)
    order = sorted((i for i in range(len(gallery)) if eligible[i]), key=lambda i: (-scores[i], i))
    return [(i, scores[i]) for i in order[:k]]


vectors = st.lists(
    st.tuples(*[st.sampled_from([-1.0, 0.0, 0.25, 1.0, 3.0])] * 3).filter(any),
    min_size=1,
    max_size=12,
)


class TestExactSearch:
    def test_of_a_session_or_tracklet_are_left_out_on_demand(self):
        rows = np.eye(4, dtype=np.float32)[[0] * 4] + np.arange(4, dtype=np.float32)[:, None] / 99
        index = GalleryIndex.build(
            rows, list("abcd"), fingerprint="x", cameras=["1", "1", "2", "2"],
            sessions=["mon", "tue", "mon", ""], tracklets=["7", "", "", "7"],
        )  # fmt: skip

        def found(**filters):
            return "".join(sorted(hit.path for hit in index.search(rows[:1], 4, **filters)[0]))

        assert found() == "abcd"
        assert found(exclude_session="mon") == "bd"
        assert found(exclude_session="mon", exclude_camera="1") == "d"
        assert found(exclude_session=["2 tracklet 7"]) == "abc", "a tracklet is one of its camera"
        assert found(exclude_session="7") == "abcd"
        hits = index.search(rows[:1], 4)[0]
        assert {(hit.path, hit.session, hit.tracklet) for hit in hits} >= {("a", "mon", "7")}
        index.add(rows[:1] + 1, ["e"], sessions=["mon"])
        assert found(exclude_session="mon") == "bd"
        with pytest.raises(ValueError, match="exclude_session must be a session or one for each"):
            found(exclude_session=["a", "b"])
        with pytest.raises(TypeError, match="labels are cameras, identities, sessions, tracklets"):
            GalleryIndex.build(rows, list("abcd"), fingerprint="x", camera=["1"] * 4)

    @pytest.mark.parametrize("kind", ["ivf", "hnsw"])
    def test_of_a_session_are_left_out_of_an_approximate_search(self, kind):
        rng = np.random.default_rng(0)
        rows, sessions = rng.standard_normal((600, 8)), [f"s{n % 40}" for n in range(600)]
        flat, other = (
            GalleryIndex.build(rows, [f"{n}" for n in range(600)], fingerprint="x",
                               sessions=sessions, kind=k)
            for k in ("flat", kind)
        )  # fmt: skip
        exact, found = (i.search(rows[:5], 9, exclude_session=sessions[:5]) for i in (flat, other))
        for n, hits in enumerate(found):
            assert sessions[n] not in {hit.session for hit in hits}
            assert len({hit.path for hit in hits} & {hit.path for hit in exact[n]}) >= 7

    @settings(max_examples=60, deadline=None)
    @given(vectors, vectors, st.integers(1, 14), st.data())
    def test_is_what_comparing_everything_gives(self, gallery, queries, k, data):
        cameras = data.draw(st.lists(st.sampled_from(["", "a", "b"]),
                                     min_size=len(gallery), max_size=len(gallery)))  # fmt: skip
        outside = data.draw(st.lists(st.sampled_from(["", "a", "b", "c"]),
                                     min_size=len(queries), max_size=len(queries)))  # fmt: skip
        floor = data.draw(st.sampled_from([-1.0, 0.0, 0.5, 1.0]))
        index = build(np.array(gallery), cameras=cameras)
        found = index.search(np.array(queries), k, exclude_camera=outside, minimum_score=floor)
        for query, camera, hits in zip(unit(queries), outside, found, strict=True):
            eligible = [camera == "" or other != camera for other in cameras]
            expected = ranking(query, unit(gallery), k, eligible)
            assert [(h.id, h.score) for h in hits] == [(i, s) for i, s in expected if s >= floor]

    def test_a_zero_embedding_is_like_none(self):
        rows = np.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0], [1.0, 0.1]])
        for queries, expected in ([[1.0, 0.0]], [0, 3, 1, 2]), ([[0.0, 0.0]], [0, 1, 2, 3]):
            hits = build(rows).search(np.array(queries), 4)[0]
            assert [hit.id for hit in hits] == expected
        assert {hit.score for hit in hits} == {0.0}

    def test_near_ties_beyond_single_precision_products_are_ordered(self):
        # More images than the spare candidates lie within rounding of each other.
        rng = np.random.default_rng(0)
        base = rng.standard_normal(64)
        rows = unit(base + 1e-6 * rng.standard_normal((400, 64)))
        hits = build(rows).search(base[None], 5)[0]
        assert [(h.id, h.score) for h in hits] == ranking(
            unit(base[None])[0], rows, 5, [True] * 400
        )

    def test_the_filter_comes_before_the_k_best(self):
        # The 90 best are of the excluded camera: ten others must still be found.
        rows = np.concatenate([np.tile([[1.0, 0.01]], (90, 1)), np.tile([[0.0, 1.0]], (10, 1))])
        index = build(rows, cameras=["hall"] * 90 + ["yard"] * 10)
        hits = index.search(np.array([[1.0, 0.0]]), 10, exclude_camera="hall")[0]
        assert [hit.camera for hit in hits] == ["yard"] * 10
        assert (
            index.search(np.array([[1.0, 0.0]]), 10, exclude_camera="roof")[0][0].camera == "hall"
        )

    def test_cameras_may_be_numbers_and_minus_one_is_unknown(self):
        index = build(np.eye(3), cameras=np.array([4, -1, 5]), identities=torch.tensor([7, 8, -1]))
        hits = index.search(np.ones((1, 3)), 3, exclude_camera=4)[0]
        assert [(h.camera, h.identity) for h in hits] == [("", "8"), ("5", "")]
        assert len(index.search(np.ones((1, 3)), 3, exclude_camera=-1)[0]) == 3
        by_query = index.search(np.ones((2, 3)), 3, exclude_camera=torch.tensor([4, 5]))
        assert [[h.id for h in hits] for hits in by_query] == [[1, 2], [0, 1]]

    @pytest.mark.parametrize("kind", ["flat", "ivf"])
    def test_more_than_there_are_is_all_of_them(self, kind):
        found = build(people(200), kind).search(people(1), 10**12)
        assert len(found[0]) == 200

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"k": 0}, "k must be at least 1, got 0"),
            ({"minimum_score": 1.5}, "minimum_score must be in"),
            ({"exclude_camera": ["a", "b"]}, "one for each of 1 queries, got 2"),
            ({"embeddings": np.ones((1, 4))}, r"\(N, 3\), got \(1, 4\)"),
            ({"embeddings": np.full((1, 3), np.nan)}, "finite"),
        ],
    )
    def test_wrong_arguments_are_named(self, arguments, said):
        with pytest.raises(ValueError, match=said):
            build(np.eye(3)).search(**{"embeddings": np.ones((1, 3)), **arguments})

    def test_what_does_not_fit_together_is_refused(self):
        with pytest.raises(ValueError, match="one entry per embedding, got 1 for 2"):
            GalleryIndex.build(np.eye(2), ["a"], fingerprint=MODEL)
        with pytest.raises(ValueError, match="'a' twice"):
            GalleryIndex.build(np.eye(2), ["a", "a"], fingerprint=MODEL)
        with pytest.raises(ValueError, match="cameras must have one entry per path, got 1"):
            GalleryIndex.build(np.eye(2), ["a", "b"], fingerprint=MODEL, cameras=["x"])
        with pytest.raises(ValueError, match="kind must be one of"):
            build(np.eye(2), kind="lsh")


@pytest.fixture(scope="module")
def rows():
    return people(1500)


@pytest.fixture(scope="module", params=["ivf", "hnsw", "pq"])
def large_gallery(request, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("large") / "g"
    build(rows, request.param, cameras=[f"c{i % 3}" for i in range(len(rows))]).save(folder)
    return folder


class TestLargeGalleries:
    @pytest.fixture
    def index(self, large_gallery):
        return GalleryIndex.load(large_gallery)

    def test_the_size_chooses(self):
        sizes = [
            1,
            approximate_search.FLAT_UP_TO,
            approximate_search.FLAT_UP_TO + 1,
            approximate_search.IVF_UP_TO + 1,
        ]
        assert [approximate_search.pick_kind(n) for n in sizes] == ["flat", "flat", "ivf", "pq"]
        with pytest.raises(ValueError, match="kind=pq needs at least 256 images, got 9"):
            build(people(9), "pq")

    def test_recall_is_that_against_comparing_everything(self, index, rows):
        own = range(0, len(rows), 3)
        truth = build(rows).search(rows[own], 11)
        found = wanted = 0
        for i, exact, hits in zip(own, truth, index.search(rows[own], 11), strict=True):
            others = [h.id for h in exact if h.id != i][:10]
            found, wanted = found + len({h.id for h in hits} & set(others)), wanted + 10
        assert index.recall >= 0.95
        assert found / wanted == pytest.approx(index.recall, abs=0.03)

    def test_scores_and_ties_are_exact(self, index, rows):
        hits = index.search(rows[:20], 5)
        for query, mine in zip(unit(rows[:20]), hits, strict=True):
            gallery = index.embeddings[[h.id for h in mine]]
            scores = [s for _, s in sorted(ranking(query, gallery, 5, [True] * 5))]
            assert [h.score for h in mine] == scores == sorted(scores, reverse=True)

    def test_never_fewer_than_the_filters_leave(self, index, rows):
        for k in (1, 40, 2000):
            for hits in index.search(rows[:4], k, exclude_camera="c1"):
                assert len(hits) == min(k, 1000)
                assert all(hit.camera != "c1" for hit in hits)

    def test_is_the_same_every_time(self, index, rows):
        again = build(rows, index.kind)
        assert again.recall == index.recall
        assert [[h.id for h in hits] for hits in again.search(rows[:50], 5)] == [
            [h.id for h in hits] for hits in index.search(rows[:50], 5)
        ]

    def test_images_come_and_go(self, index, rows, tmp_path):
        more = people(60, seed=1)
        ids = index.add(more, [f"new{i}.jpg" for i in range(60)])
        assert ids.tolist() == list(range(1500, 1560))
        assert index.search(more[:5], 1)[3][0].path == "new3.jpg"
        assert index.remove([*range(0, 1500, 2), 1503]) == 751
        index.save(tmp_path / "g")
        for one in (index, GalleryIndex.load(tmp_path / "g")):
            assert len(one) == 809
            left = {h.id for hits in one.search(np.concatenate([rows, more]), 3) for h in hits}
            assert not left & {*range(0, 1500, 2), 1503}
            assert one.search(more[3:4], 1)[0][0].path != "new3.jpg"
            assert one.search(rows[1:2], 1)[0][0].path == "0001.jpg"
            assert one.measure_recall() > 0.9

    def test_nothing_of_a_removed_embedding_stays_in_the_folder(self, index, tmp_path):
        kept, gone = index.embeddings[7].tobytes(), index.embeddings[8].tobytes()
        index.remove([8])
        index.save(tmp_path / "g")
        written = b"".join(path.read_bytes() for path in (tmp_path / "g").iterdir())
        assert kept in written
        assert gone not in written

    def test_a_gallery_may_become_empty(self, index):
        index.remove(range(1500))
        assert index.search(np.ones((2, 16)), 3) == [[], []]
        index.add(np.ones((1, 16)), ["back.jpg"])
        assert [h.id for h in index.search(np.ones((1, 16)), 3)[0]] == [1500]


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_of_equal_images_every_kind_finds_the_same(kind):
    """Also where there are more of them than the structure proposes."""
    rows, rng = people(900), np.random.default_rng(0)
    chosen = np.split(rng.permutation(900)[:420], np.cumsum([3, 12, 27, 60]))
    for same in chosen:
        rows[same] = rows[same[0]]
    cameras = rng.integers(3, size=900)
    exact, proposed = build(rows, cameras=cameras), build(rows, kind, cameras=cameras)
    queries = rows[[same[0] for same in chosen]]
    for excluded in (None, 1):
        for same, *found in zip(
            chosen, *(index.search(queries, 10, exclude_camera=excluded)
                      for index in (exact, proposed)), strict=True,
        ):  # fmt: skip
            number = min(10, int((cameras[same] != excluded).sum()))
            hits = [[hit.id for hit in mine[:number]] for mine in found]
            assert hits[0] == hits[1] == sorted(hits[0])


class Missing:
    """Like pandas.NA, which equals nothing and is neither true nor false."""

    def __eq__(self, other):
        return self

    __hash__ = None

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


def test_cells_as_numpy_and_pandas_have_them_are_names_or_unknown():
    unknown = [None, Missing(), np.nan, np.float32("nan"), np.datetime64("NaT"), -1, -1.0, ""]
    assert names(unknown) == [""] * len(unknown)
    assert names([3, 3.0, np.float32(3), np.int64(3), "3", 2.5, math.inf]) == [
        *["3"] * 5, "2.5", "inf",
    ]  # fmt: skip


class TestAddingAndRemoving:
    @pytest.mark.parametrize("ids", [[1.5], ["0"], [True], np.array([0.0])])
    def test_ids_that_are_no_integers_remove_nothing(self, ids):
        index = GalleryIndex.build(np.eye(3), ["a", "b", "c"], fingerprint="x")
        with pytest.raises(TypeError, match="ids must be an integer"):
            index.remove(ids)
        assert len(index) == 3
        assert index.remove(torch.tensor([2])) + index.remove(np.array([], dtype=float)) == 1

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=12), st.integers(0, 99))
    def test_ids_are_for_ever(self, steps, seed):
        rng = np.random.default_rng(seed)
        index, alive, ever = build(people(3, 4)), {0, 1, 2}, 3
        for is_adding, count in steps:
            if is_adding:
                ids = index.add(rng.standard_normal((count, 4)),
                                [f"n{ever + i}" for i in range(count)])  # fmt: skip
                assert ids.tolist() == list(range(ever, ever + count))
                alive, ever = alive | set(ids.tolist()), ever + count
            elif alive:
                leaving = rng.choice(sorted(alive), min(count, len(alive)), replace=False).tolist()
                assert index.remove(leaving) == len(leaving)
                alive -= set(leaving)
            assert index.table.ids.tolist() == sorted(alive)
            assert {h.id for h in index.search(np.ones((1, 4)), 99)[0]} == alive

    @pytest.mark.parametrize("kind", ["flat", "hnsw"])
    def test_of_no_embeddings_nothing_is_found_and_nothing_added(self, kind, tmp_path):
        index = build(np.eye(3), kind)
        for none in (np.empty((0, 3)), torch.empty(0, 3)):
            assert index.search(none, 2, fingerprint=MODEL) == []
            assert index.search(none, exclude_camera=[]) == []
            ids = index.add(none, [], cameras=[], identities=[])
            assert (ids.shape, ids.dtype) == ((0,), np.int64)
        assert (len(index), index.next_id) == (3, 3)
        assert index.remove([]) == 0
        index.save(tmp_path / "g")
        assert GalleryIndex.load(tmp_path / "g").add(np.ones((1, 3)), ["new"]).tolist() == [3]
        with pytest.raises(ValueError, match=r"embeddings must be \(N, 3\), got \(0, 4\)"):
            index.search(np.empty((0, 4)))
        with pytest.raises(ValueError, match="got 1 for 0 embeddings"):
            index.add(np.empty((0, 3)), ["a.jpg"])
        with pytest.raises(UserError, match="not by other"):
            index.search(np.empty((0, 3)), fingerprint="other")

    def test_refusals_change_nothing(self):
        index = build(np.eye(3))
        with pytest.raises(ValueError, match=r"'0001.jpg' is in the gallery"):
            index.add(np.eye(3)[:2], ["x.jpg", "0001.jpg"])
        with pytest.raises(ValueError, match="got 9"):
            index.remove([1, 9])
        assert index.table.ids.tolist() == [0, 1, 2]
        assert index.next_id == 3

    def test_another_model_is_refused_in_one_line(self, tmp_path):
        index = build(np.eye(3))
        index.save(tmp_path / "g")
        for act in (
            lambda: index.search(np.eye(3), fingerprint="other"),
            lambda: index.add(np.eye(3)[:1], ["n"], fingerprint="other"),
            lambda: GalleryIndex.load(tmp_path / "g", fingerprint="other"),
        ):
            with pytest.raises(UserError, match=f"model {MODEL}, not by other") as refused:
                act()
            assert "\n" not in str(refused.value)
        assert len(index.search(np.eye(3), 1, fingerprint=MODEL)) == 3


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery") / "g"
    everybody = ["Zoë", *["x"] * 299]
    build(people(300), "ivf", cameras=range(300), identities=everybody).save(folder)
    return folder


class TestFolder:
    @pytest.fixture
    def folder(self, original, tmp_path):
        return shutil.copytree(original, tmp_path / "g")

    def test_comes_back_as_it_was(self, folder):
        index, rows = GalleryIndex.load(folder), people(300)
        fresh = build(rows, "ivf", cameras=range(300), identities=["Zoë", *["x"] * 299])
        assert index.search(rows[:9], 7) == fresh.search(rows[:9], 7)
        assert (index.kind, index.recall, index.next_id) == ("ivf", fresh.recall, 300)
        assert (index.fingerprint, index.table.identities[0]) == (MODEL, "Zoë")
        assert isinstance(index.embeddings, np.memmap)

    def test_saving_replaces_in_one_step(self, folder, monkeypatch):
        index = GalleryIndex.load(folder)
        index.remove([0])

        def fail(path, content):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(storage, "write_json", fail)  # the manifest, written last
            with pytest.raises(UserError, match="No space left"):
                index.save(folder)
        assert len(GalleryIndex.load(folder)) == 300  # the old one, whole
        index.save(folder)
        assert len(GalleryIndex.load(folder)) == 299
        assert len(list(folder.iterdir())) == 4  # nothing of the old one, nor of the attempt

    def test_a_change_by_another_is_not_lost(self, folder):
        mine, theirs = GalleryIndex.load(folder), GalleryIndex.load(folder)
        theirs.remove([0])
        theirs.save(folder)
        theirs.remove([1])
        theirs.save(folder)  # one's own change is no other's
        mine.remove([5])
        with pytest.raises(UserError, match="changed by another process since it was read"):
            mine.save(folder)
        assert GalleryIndex.load(folder).table.ids[0] == 2
        assert len(GalleryIndex.load(folder)) == 298
        mine.save(folder.with_name("copy"))

    def test_a_first_save_that_fails_leaves_nothing(self, tmp_path, monkeypatch):
        def fail(path, content):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(storage, "write_atomically", fail)
        with pytest.raises(UserError, match="No space left"):
            build(np.eye(2)).save(tmp_path / "new" / "g")
        assert not list((tmp_path / "new").iterdir())

    def test_other_folders_are_left_alone(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(UserError, match="exists and is no gallery"):
            build(np.eye(2)).save(tmp_path)
        with pytest.raises(UserError, match="no gallery there"):
            GalleryIndex.load(tmp_path)
        with pytest.raises(UserError, match="no gallery there"):
            GalleryIndex.load(tmp_path / "absent")
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    @pytest.mark.parametrize("part", ["embeddings", "table", "proposals"])
    @pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
    def test_damage_is_found(self, folder, part, harm):
        path = next(folder.glob(f"{part}-*"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes(content if harm == "flip" else content[: len(content) // 2])
        with pytest.raises(UserError, match=f"damaged, .*{path.name}"):
            GalleryIndex.load(folder)

    @settings(max_examples=60, deadline=None)
    @given(
        st.sampled_from(["files", "kind", "feature_dim", "breadth", "recall", "next_id", "format",
                         "fingerprint", "images", "pattern"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["embeddings", "table", "name", "x"]), inner,
                              max_size=3),
            max_leaves=5,
        ),
    )  # fmt: skip
    def test_a_manifest_of_any_content_loads_or_is_refused_in_one_line(self, original, key, value):
        manifest = original / MANIFEST
        before, said = manifest.read_text(), ""
        try:
            manifest.write_text(json.dumps({**json.loads(before), key: value}))
            GalleryIndex.load(original).search(people(1), 2)
        except UserError as error:
            said = str(error)
        finally:
            manifest.write_text(before)
        assert "\n" not in said

    def test_nothing_is_unpickled(self, folder, tmp_path):
        class Trap:
            def __reduce__(self):
                return (open, (str(tmp_path / "sprung"), "w"))

        import hashlib

        manifest = json.loads((folder / MANIFEST).read_text())
        np.save(tmp_path / "object.npy", np.array([Trap()], dtype=object), allow_pickle=True)
        for part in ("embeddings", "table", "proposals"):
            for content in ((tmp_path / "object.npy").read_bytes(), pickle.dumps(Trap())):
                digest = hashlib.sha256(content).hexdigest()
                suffix = manifest["files"][part]["name"].rpartition(".")[2]
                name = f"{part}-{digest[:16]}.{suffix}"
                (folder / name).write_bytes(content)
                files = {**manifest["files"], part: {"name": name, "sha256": digest}}
                (folder / MANIFEST).write_text(json.dumps({**manifest, "files": files}))
                with pytest.raises(UserError, match="damaged"):
                    GalleryIndex.load(folder)
        assert not (tmp_path / "sprung").exists()

    def test_paths_out_of_the_folder_are_refused(self, folder):
        path = folder / MANIFEST
        manifest = json.loads(path.read_text())
        manifest["files"]["table"]["name"] = "../table-0123456789abcdef.parquet"
        path.write_text(json.dumps(manifest))
        with pytest.raises(UserError, match="names no file of a gallery as its table"):
            GalleryIndex.load(folder)
