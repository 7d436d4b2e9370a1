"""A gallery in a vector store: the recipes of docs/stores.md against the exact search."""

import numpy as np
import pytest

import documents
from dccc_lightning import GalleryIndex, export_gallery
from dccc_lightning.errors import UserError
from dccc_lightning.gallery import store_export

D, K = 24, 7
RECIPES = "".join(code for code in documents.snippets("docs/stores.md") if "def search_" in code)
PACKAGES = {"lancedb": "lancedb", "qdrant": "qdrant_client", "duckdb": "duckdb"}


def vectors(number, seed):
    rows = np.random.default_rng(seed).standard_normal((number, D)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def some_cameras(number):
    return [("c1", "c2", None)[i % 3] for i in range(number)]


@pytest.fixture
def gallery():
    paths = [f"{i:04}.jpg" for i in range(90)]
    return GalleryIndex.build(
        vectors(90, 0), paths, cameras=some_cameras(90), identities=["0007", *["NA"] * 89],
        fingerprint="x", kind="flat",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("store", PACKAGES)
def test_a_store_finds_the_neighbours_of_the_exact_search(gallery, store, tmp_path):
    pytest.importorskip(PACKAGES[store])
    names = {}
    pieces = [code for code in documents.snippets("docs/stores.md") if f"search_{store}(" in code]
    exec(pieces[0], names)
    search, place = names[f"search_{store}"], str(tmp_path / f"gallery.{store}")

    def check():
        for query in vectors(5, 1):
            found = search(place, query, "c1", K)
            wanted = gallery.search(query[None], K, exclude_camera="c1")[0]
            assert [row[0] for row in found] == [hit.id for hit in wanted]
            np.testing.assert_allclose([r[1] for r in found], [h.score for h in wanted], atol=1e-5)
            assert {hit.camera for hit in wanted} >= {""}  # unknown cameras are among them

    assert export_gallery(gallery, store, place) == 90
    check()  # every recipe opens the store again
    more = vectors(30, 2)
    gallery.add(more, [f"new/{i}.jpg" for i in range(30)], cameras=some_cameras(30))
    assert export_gallery(gallery, store, place) == 120
    check()
    gallery.remove(range(0, 40))
    assert export_gallery(gallery, store, place) == 80
    check()


def test_what_a_store_cannot_hold_is_refused(gallery, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="store must be one of lancedb, qdrant, duckdb"):
        export_gallery(gallery, "milvus", tmp_path)

    def missing(gallery, path):
        raise ImportError("none", name="lancedb")

    monkeypatch.setattr(store_export, "STORES", {"lancedb": missing, "duckdb": lambda *_: 3})
    with pytest.raises(UserError, match=r"needs lancedb: pip install 'dccc-lightning\[stores\]'"):
        export_gallery(gallery, "lancedb", tmp_path)
    with pytest.raises(UserError, match="holds 3 images, the gallery 90"):
        export_gallery(gallery, "duckdb", tmp_path)


def test_rows_have_text_ids_and_nulls(gallery):
    rows, gone = store_export._rows(gallery, np.array([1, 2, 999]))
    assert (len(rows), gone) == (88, [999])
    assert rows["identity"][0].as_py() == "0007"
    assert rows["identity"][1].as_py() == "NA"
    assert rows["camera"].null_count == 29
    np.testing.assert_array_equal(rows["vector"][0].as_py(), gallery.embeddings[0])
