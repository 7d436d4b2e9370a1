"""A gallery in a vector store: the recipes of docs/stores.md against the exact search."""

import numpy as np
import pytest

import documents
from dccc_lightning import GalleryIndex, export_gallery
from dccc_lightning.errors import UserError
from dccc_lightning.gallery import store_export, vector_stores
from dccc_lightning.gallery.vector_stores import STORES
from postgres import postgres_server

D, K = 24, 7
PACKAGES = {
    "lancedb": "lancedb", "qdrant": "qdrant_client", "duckdb": "duckdb",
    "sqlite_vec": "sqlite_vec", "pgvector": "psycopg",
}  # fmt: skip
CAMERA = "gate d'or"


def vectors(number, seed):
    rows = np.random.default_rng(seed).standard_normal((number, D)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def some_cameras(number):
    return [(CAMERA, "c2", None)[i % 3] for i in range(number)]


def gallery_of(number, fingerprint="x"):
    return GalleryIndex.build(
        vectors(number, 0), [f"{i:04}.jpg" for i in range(number)], kind="flat",
        cameras=some_cameras(number), identities=["0007", *["NA"] * (number - 1)],
        sessions=["01", *[None] * (number - 1)], tracklets=[None, *["t"] * (number - 1)],
        fingerprint=fingerprint,
    )  # fmt: skip


@pytest.fixture
def gallery():
    return gallery_of(90)


@pytest.fixture(scope="module")
def place_of(made_once, tmp_path_factory):
    """Return a function that gives the place of a new store."""
    servers = []

    def place(store):
        if store != "pgvector":
            return str(tmp_path_factory.mktemp("store") / f"gallery.{store}")
        psycopg = pytest.importorskip("psycopg")
        if not servers:
            servers.append(postgres_server(made_once))
            servers.append(servers[0].__enter__())
        with psycopg.connect(servers[1], autocommit=True) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {vector_stores.TABLE}")
        return servers[1]

    yield place
    if servers:
        servers[0].__exit__(None, None, None)


def recipe(store):
    names = {}
    pieces = [code for code in documents.snippets("docs/stores.md") if f"search_{store}(" in code]
    exec(pieces[0], names)
    return names[f"search_{store}"]


def test_every_store_is_tested():
    assert list(STORES) == list(PACKAGES)


@pytest.mark.slow
@pytest.mark.parametrize("store", PACKAGES)
def test_a_store_finds_the_neighbours_of_the_exact_search(gallery, store, place_of):
    pytest.importorskip(PACKAGES[store])
    search, place = recipe(store), place_of(store)

    def check():
        for query in vectors(5, 1):
            found = search(place, query, CAMERA, K)
            wanted = gallery.search(query[None], K, exclude_camera=CAMERA)[0]
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
    with pytest.raises(UserError, match=f"store={store}: .* embeddings of another network"):
        export_gallery(gallery_of(60, "y"), store, place)
    check()


@pytest.mark.slow
@pytest.mark.parametrize("store", PACKAGES)
def test_a_store_is_the_gallery_after_every_export(store, place_of):
    pytest.importorskip(PACKAGES[store])
    place = place_of(store)
    for number in (20, 20, 0, 9):
        gallery = gallery_of(max(1, number))
        if number == 0:
            gallery.remove([0])
        assert export_gallery(gallery, store, place) == number
    held = vector_stores.open_store(store, place, D)
    rows = sorted(map(tuple, held.rows()))
    held.close()
    assert rows[:3] == [
        (0, "0000.jpg", CAMERA, "0007", "01", None, None, "x"),
        (1, "0001.jpg", "c2", "NA", None, "t", None, "x"),
        (2, "0002.jpg", None, "NA", None, "t", None, "x"),
    ]


def during(store, place):
    """Return the ids of the page's condition of camera and time, by a search without limit."""
    names = {}
    exec(next(code for code in documents.snippets("docs/stores.md") if "during" in code), names)
    query, condition = vectors(1, 1)[0], names["during"]
    if store == "lancedb":
        import lancedb

        search = lancedb.connect(place).open_table("images").search(query)
        found = search.distance_type("cosine").where(condition, prefilter=True).limit(99).to_list()
        return {row["id"] for row in found}
    if store == "qdrant":
        from qdrant_client import QdrantClient

        client = QdrantClient(path=place)
        filters = {"query_filter": names["during_qdrant"], "limit": 99}
        points = client.query_points("images", query=query.tolist(), **filters).points
        client.close()
        return {point.id for point in points}
    held = vector_stores.open_store(store, place, D)
    nearest = "vector MATCH ? AND k = 99 AND " if store == "sqlite_vec" else ""
    given = (query.tobytes(),) if nearest else None
    rows = held.connection.execute(f"SELECT id FROM images WHERE {nearest}{condition}", given)
    found = {row[0] for row in rows.fetchall()}
    held.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("store", PACKAGES)
def test_images_of_a_camera_and_a_time_are_found(store, place_of):
    pytest.importorskip(PACKAGES[store])
    gallery, place = gallery_of(90), place_of(store)
    paths = gallery.table.paths
    seconds = {path: float(n) for n, path in enumerate(paths) if n % 4}  # a quarter is unknown
    export_gallery(gallery, store, place, seconds)
    wanted = {n for n in range(10, 20) if n % 4 and gallery.table.cameras[n] == "c2"}
    assert wanted == {10, 13, 19}
    assert during(store, place) == wanted
    later = {path: time + 3 for path, time in seconds.items()}
    export_gallery(gallery, store, place, later)  # the times changed
    assert during(store, place) == {n for n in range(7, 17) if n % 4 and n % 3 == 1}


@pytest.fixture
def place(tmp_path):
    pytest.importorskip("apsw")
    pytest.importorskip("sqlite_vec")
    return str(tmp_path / "gallery.db")


def found_paths(place):
    store = vector_stores.open_store("sqlite_vec", place, D)
    try:
        return {row[0]: row[1:4] for row in store.rows()}
    finally:
        store.close()


def test_a_gallery_that_was_built_anew_replaces_what_changed(place):
    """Ids begin with 0 in each gallery, so an id alone does not tell an image."""
    assert export_gallery(gallery_of(9), "sqlite_vec", place) == 9
    anew = GalleryIndex.build(
        vectors(5, 4), ["0000.jpg", "b.jpg", "0002.jpg", "0003.jpg", "0004.jpg"], fingerprint="x",
        cameras=[CAMERA, "c2", "c5", CAMERA, "c2"], identities=["0007", *["NA"] * 4], kind="flat",
    )  # fmt: skip
    assert export_gallery(anew, "sqlite_vec", place) == 5
    assert found_paths(place) == {
        0: ("0000.jpg", CAMERA, "0007"), 1: ("b.jpg", "c2", "NA"), 2: ("0002.jpg", "c5", "NA"),
        3: ("0003.jpg", CAMERA, "NA"), 4: ("0004.jpg", "c2", "NA"),
    }  # fmt: skip
    with pytest.raises(UserError, match="embeddings of another network; write to another place"):
        export_gallery(gallery_of(9, "y"), "sqlite_vec", place)
    assert len(found_paths(place)) == 5
    assert export_gallery(gallery_of(9, "y"), "sqlite_vec", f"{place}2") == 9  # the remedy


def test_what_a_store_cannot_hold_is_refused(gallery, place, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=f"store must be one of {', '.join(STORES)}"):
        export_gallery(gallery, "milvus", tmp_path)
    (tmp_path / "text.db").write_text("not a database, but long enough to be one " * 50)
    with pytest.raises(UserError, match=r"store=sqlite_vec: cannot be written: .*not a database"):
        export_gallery(gallery, "sqlite_vec", tmp_path / "text.db")
    gallery.embeddings[3] = np.nan
    with pytest.raises(ValueError, match="must have length 1"):
        export_gallery(gallery, "sqlite_vec", place)
    gallery.embeddings[3] = 0
    with pytest.raises(ValueError, match="must have length 1"):
        export_gallery(gallery, "sqlite_vec", place)

    def missing(place, width):
        raise ImportError("none", name="lancedb")

    monkeypatch.setattr(vector_stores, "STORES", {"lancedb": missing})
    with pytest.raises(UserError, match=r"needs lancedb: pip install 'dccc-lightning\[stores\]'"):
        export_gallery(gallery_of(3), "lancedb", tmp_path)


def test_rows_are_counted_after_writing(gallery, place, monkeypatch):
    monkeypatch.setattr(vector_stores.SqliteStore, "replace", lambda *_: None)
    with pytest.raises(UserError, match="holds 0 images, the gallery 90"):
        export_gallery(gallery, "sqlite_vec", place)


def test_times_belong_to_images_of_the_gallery(gallery, place, caplog):
    path = gallery.table.paths[0]
    for seconds, said in (
        ({path: float("nan")}, "seconds must be finite"),
        ({"elsewhere.jpg": 1.0}, f"seconds has no path of the gallery, such as {path}"),
    ):
        with pytest.raises(ValueError, match=said):
            export_gallery(gallery, "sqlite_vec", place, seconds)
    export_gallery(gallery, "sqlite_vec", place, {path: 3, "elsewhere.jpg": 1.0})
    assert "seconds: no time for 89 of 90 images" in caplog.text
    store = vector_stores.open_store("sqlite_vec", place, D)
    assert [row[6] for row in sorted(store.rows(), key=lambda row: row[0])] == [3.0] + [None] * 89
    store.close()
    caplog.clear()
    export_gallery(gallery, "sqlite_vec", place, dict.fromkeys(gallery.table.paths))
    assert "seconds: no time for 90 of 90 images" in caplog.text
    caplog.clear()
    export_gallery(gallery, "sqlite_vec", place, dict.fromkeys(gallery.table.paths, 0))
    export_gallery(gallery, "sqlite_vec", place)
    assert not caplog.text


def test_a_store_has_all_labels_of_the_gallery(place):
    export_gallery(gallery_of(3), "sqlite_vec", place)
    store = vector_stores.open_store("sqlite_vec", place, D)
    assert [row[2:6] for row in sorted(store.rows(), key=lambda row: row[0])] == [
        (CAMERA, "0007", "01", None), ("c2", "NA", None, "t"), (None, "NA", None, "t"),
    ]  # fmt: skip
    of_session = store.connection.execute("SELECT id FROM images WHERE session = '01'").fetchall()
    store.close()
    assert of_session == [(0,)]


def test_rows_have_text_ids_and_nulls(gallery):
    row = (1, "a", None, "0007", "01", None, 2.5, "x")
    rows = store_export._columns(gallery, [row], np.arange(90) == 1)
    assert rows.drop_columns("vector").to_pylist() == [
        {
            "id": 1, "path": "a", "camera": None, "identity": "0007", "session": "01",
            "tracklet": None, "seconds": 2.5, "model": "x",
        }
    ]  # fmt: skip
    np.testing.assert_array_equal(rows["vector"][0].as_py(), gallery.embeddings[1])


@pytest.mark.slow
def test_what_the_page_says_of_sqlite_vec(place):
    apsw = pytest.importorskip("apsw")
    export_gallery(gallery_of(30), "sqlite_vec", place)
    search = recipe("sqlite_vec")
    with pytest.raises(apsw.SQLError, match="4096"):
        search(place, vectors(1, 1)[0], CAMERA, 4097)
    connection = vector_stores.SqliteStore(place, D).connection
    row = (99, vectors(1, 5).tobytes(), None)
    with pytest.raises(apsw.SQLError, match="camera"):
        connection.execute("INSERT INTO images (id, vector, camera) VALUES (?, ?, ?)", row)
    rows = {}
    for condition in ("camera != ?", "NOT camera = ?"):
        statement = f"SELECT id FROM images WHERE vector MATCH ? AND k = 9 AND {condition}"
        given = (vectors(1, 1).tobytes(), CAMERA)
        rows[condition] = len(connection.execute(statement, given).fetchall())
    assert rows["camera != ?"] == 9 > rows["NOT camera = ?"]


@pytest.mark.slow
def test_what_the_page_says_of_lancedbs_index(tmp_path):
    lancedb = pytest.importorskip("lancedb")
    gallery = gallery_of(2000)
    export_gallery(gallery, "lancedb", tmp_path / "lance")
    table = lancedb.connect(tmp_path / "lance").open_table("images")
    table.create_index(metric="cosine", vector_column_name="vector")
    distances = {}
    for factor in (None, 20):
        search = table.search(gallery.embeddings[5], vector_column_name="vector")
        search = search.distance_type("cosine").nprobes(2000)
        search = search if factor is None else search.refine_factor(factor)
        distances[factor] = search.limit(3).to_list()[0]["_distance"]
    assert distances[None] > 0.01  # of an image to itself
    assert distances[20] < 1e-5


@pytest.mark.slow
def test_what_the_page_says_of_pgvectors_index(place_of):
    place = place_of("pgvector")
    import psycopg

    number = 3000
    gallery = gallery_of(number)
    export_gallery(gallery, "pgvector", place)
    query = vectors(1, 1)[0]
    statement = """SELECT id FROM images WHERE camera = 'c2'
        ORDER BY vector <=> %s::vector LIMIT 60"""
    with psycopg.connect(place) as connection:
        connection.execute("CREATE INDEX ON images USING hnsw (vector vector_cosine_ops)")
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL enable_sort = off")

        def count():
            return len(connection.execute(statement, [str(query.tolist())]).fetchall())

        assert 0 < count() < 40  # of the 40 best, those of the camera
        connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
        assert count() == 60
