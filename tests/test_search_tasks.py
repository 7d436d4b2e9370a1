"""task=index, task=search and task=calibrate on a tiny world, with the weights of the package."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dccc_lightning import GalleryIndex
from dccc_lightning.data.image_list import ListedImage
from dccc_lightning.errors import UserError
from dccc_lightning.gallery.gallery_table import Hit
from dccc_lightning.gallery.manifest import MANIFEST
from dccc_lightning.reports.boards.search_board import SearchRow, write_board
from dccc_lightning.tasks.calibrate import calibrate
from dccc_lightning.tasks.embed import embed
from dccc_lightning.tasks.index import index
from dccc_lightning.tasks.path_labels import PathLabels
from dccc_lightning.tasks.search import search

TASKS = {"index": index, "search": search, "calibrate": calibrate, "embed": embed}
PATTERN = r"(?P<identity>\d+)_c(?P<camera>\d+)"
NAMES = f"pattern='{PATTERN}'"


def perform(composed, task, arguments, output):
    """Run a task without a command line; return its results."""
    return TASKS[task](composed(f"task={task}", "ckpt=bundled", changes=arguments), output)


@pytest.fixture
def ask(composed, tmp_path, monkeypatch, capsys):
    """Run a task without a command line; return its file of results, and its terminal output."""
    monkeypatch.chdir(tmp_path)

    def run(task, *arguments, output="out", results="results.json"):
        perform(composed, task, arguments, tmp_path / output)
        found = json.loads(Path(output, results).read_text())
        return {**found, "said": capsys.readouterr().out}

    return run


@pytest.fixture
def by_command(command, tiny):
    """Run a task by its command line; return its file of results, and its terminal output."""

    def run(task, *arguments, output="out", results="results.json"):
        outcome = command(f"task={task}", "ckpt=bundled", *tiny, f"output={output}", *arguments)
        assert outcome.code == 0, outcome.err
        return {**json.loads(Path(output, results).read_text()), "said": outcome.out}

    return run


@pytest.fixture
def people(tmp_path, monkeypatch):
    """A folder of crops that are easily told apart: a colour each, under two cameras."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "people"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for person, colour in enumerate([(200, 30, 30), (30, 200, 30), (30, 30, 200)], 1):
        for camera in (1, 2):
            pixels = np.full((48, 24, 3), colour) + rng.integers(-25, 25, (48, 24, 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / f"{person}_c{camera}.png")
    return folder


def test_sessions_of_paths_are_stored_and_left_out(composed, people, tmp_path):
    pattern = "pattern='(?P<identity>[0-9])_c(?P<session>[0-9])'"
    perform(composed, "index", [f"input={people}", "index=g", pattern], tmp_path)
    table = GalleryIndex.load("g").table
    assert (set(table.sessions), set(table.cameras)) == ({"1", "2"}, {""})
    asked = ["index=g", f"query={people}", "k=6", "board.queries=0"]
    found = perform(composed, "search", [*asked, "exclude_session=same"], tmp_path)
    for query in found["queries"]:
        assert query["session"] not in {hit["session"] for hit in query["hits"]}
        assert len(query["hits"]) == 3
    with pytest.raises(
        UserError, match="exclude_session=7: not in the gallery; its sessions are 1, 2"
    ):
        perform(composed, "search", [*asked, "exclude_session=7"], tmp_path)
    with pytest.raises(UserError, match="exclude_camera=same: the gallery has no cameras"):
        perform(composed, "search", [*asked, "exclude_camera=same"], tmp_path)
    given = ["index=g", "false_match_rate=0.4"]
    found = perform(composed, "calibrate", given, tmp_path)
    assert found["false_non_match"]["pairs"] == 3, "one pair of a person, of two sessions"
    assert found["false_match"]["pairs"] == 6


def test_a_calibration_warns_of_small_cameras(composed, people, tmp_path):
    perform(composed, "index", [f"input={people}", "index=g", NAMES], tmp_path)
    with pytest.warns(UserWarning, match=r"input: cameras have 3.0 images on average \(2 cameras"):
        perform(composed, "calibrate", ["index=g", "false_match_rate=0.4"], tmp_path)


def test_a_gallery_of_a_split_is_searched_with_another(by_command, embedder):
    built = by_command("index", "input=gallery", "index=g", output="built")
    found = by_command(
        "search", "index=g", "query=query", "k=4", "exclude_camera=same", "board.hits=3"
    )
    assert built["images"] == built["added"] > 20
    assert (built["kind"], built["recall"], built["removed"]) == ("flat", 1.0, 0)
    assert "first hit shows the query's person in" in found["said"]
    assert found["fingerprint"] == built["fingerprint"] == embedder.fingerprint

    gallery = GalleryIndex.load("g")
    table, queries = gallery.table, found["queries"]
    assert "distractor" in table.identities
    assert "0" not in table.identities
    scores = (
        embedder.embed([query["path"] for query in queries]).numpy()
        @ embedder.embed(list(table.paths)).numpy().T
    )
    for query, row in zip(queries, scores, strict=True):
        row[table.cameras == query["camera"]] = -2
        assert [hit["rank"] for hit in query["hits"]] == [1, 2, 3, 4]
        best = np.sort(row)[::-1][:4]
        np.testing.assert_allclose([hit["score"] for hit in query["hits"]], best, atol=1e-5)
        np.testing.assert_allclose(row[[hit["id"] for hit in query["hits"]]], best, atol=1e-5)
        assert query["camera"] not in {hit["camera"] for hit in query["hits"]}
    with Image.open("out/board.png") as board:
        assert board.format == "PNG"
        colours = {colour for _, colour in board.getcolors(1 << 24)}
    assert {(46, 158, 91), (208, 67, 59), (47, 109, 179)} <= colours  # right, wrong, query


def test_a_board_has_places_for_narrow_and_unreadable_images(tmp_path):
    shapes = {"wide.png": (90, 30), "narrow.png": (1, 2000)}
    for name, size in shapes.items():
        Image.new("RGB", size, (255, 0, 0)).save(tmp_path / name)
    hits = [Hit(n, 0.5, str(tmp_path / name), "", "") for n, name in enumerate([*shapes, "gone"])]
    query = ListedImage(str(tmp_path / "wide.png"), "1", "5")
    write_board(tmp_path / "all.png", [SearchRow(query, hits)], 3, "all")
    write_board(tmp_path / "two.png", [SearchRow(query, hits), SearchRow(query, [])], 2, "two")
    with Image.open(tmp_path / "all.png") as board, Image.open(tmp_path / "two.png") as other:
        red = sum(count for count, color in board.getcolors(1 << 24) if color == (255, 0, 0))
        assert red == 2 * 96 * 32  # the query and the wide hit, in their proportions
        assert other.height > board.height
        assert other.width < board.width


def test_queries_are_an_image_a_folder_or_a_list(ask, people, tmp_path):
    ask("index", f"input={people}", "index=g", NAMES, output="built")
    (tmp_path / "list.txt").write_text("people/2_c1.png\n\npeople/3_c2.png\n")
    one = ask("search", "index=g", f"query={people}/2_c1.png", NAMES, "k=9", output="one")
    assert one["queries"][0]["hits"][0]["identity"] == "2"
    assert len(one["queries"][0]["hits"]) == 5  # not itself
    assert one["network"] == json.loads(Path("g", MANIFEST).read_text())["network"] == "bundled"
    assert "\nnetwork: bundled\n" in one["said"]
    listed = ask("search", "index=g", "query=list.txt", NAMES, "k=1", output="listed")
    folder = ask("search", "index=g", f"query={people}", NAMES, "k=1", output="folder")
    both = ask("search", "index=g", f"query=[list.txt,{people}/1_c1.png]", NAMES, output="both")
    for result, count in ((listed, 2), (folder, 6), (both, 3)):
        assert len(result["queries"]) == count
        for query in result["queries"]:
            first = query["hits"][0]
            assert (first["identity"], first["camera"]) == (
                query["identity"], "2" if query["camera"] == "1" else "1"
            )  # fmt: skip
    none = ask("search", "index=g", f"query={people}", "minimum_score=1.0", "board.queries=0",
               output="none")  # fmt: skip
    assert not any(query["hits"] for query in none["queries"])
    assert not (tmp_path / "none" / "board.png").exists()


def test_images_are_added_and_removed_by_commands(ask, people, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(people / "1_c1.png", more / "9_c1.png")
    shutil.copy(people / "1_c1.png", people / "9_c2.png")
    ask("index", f"input={more}", "index=g", NAMES, output="a")
    added = ask("index", "index=g", f"add=[{people},{more}]", NAMES, output="b")
    assert (added["added"], added["images"]) == (7, 8)
    assert "already in the gallery: 1 image\n" in added["said"]
    assert "\nnetwork: bundled\n" in added["said"]
    removed = ask("index", "index=g", f"remove=[{more},3,{people}/2_c2.png]", output="c")
    assert (removed["removed"], removed["images"]) == (3, 5)
    again = ask("index", "index=g", f"add={more}", f"remove={people}/9_c2.png", NAMES, output="d")
    assert (again["added"], again["removed"], again["images"]) == (1, 1, 5)
    assert GalleryIndex.load("g").table.ids.tolist() == [1, 2, 5, 6, 8]
    hit = ask("search", "index=g", f"query={people}/9_c2.png", NAMES, output="e")["queries"][0]
    same_picture = {(h["id"], h["identity"]): h["score"] for h in hit["hits"][:2]}
    assert same_picture == {(1, "1"): pytest.approx(1), (8, "9"): pytest.approx(1)}


def test_words_for_an_unknown_identity_in_a_path_name_no_person():
    labels = PathLabels({"pattern": r"(?P<identity>[^/_]+)_(?P<camera>[^.]+)", "dataset": {}})
    root = Path("/crops")
    read = [labels(f"/crops/{name}.png", root)[1:3] for name in ("7_c1", "Unknown_c1", "nan_?")]
    assert read == [("c1", "7"), ("c1", ""), ("", "")]
    with pytest.warns(UserWarning, match="identity 'Unknown' of 1 image, camera '.' of 1"):
        labels.check("input=crops")


def test_a_gallery_keeps_its_pattern(embedder, composed, people, tmp_path, capsys):
    shutil.copy(people / "1_c1.png", people / "extra.png")
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(people / "1_c2.png", more / "7_c2.png")
    shutil.copy(people / "1_c2.png", more / "strange.png")

    def did(task, *arguments):
        number = len(list(tmp_path.glob("out*")))
        return perform(composed, task, arguments, tmp_path / f"out{number}")

    def names(folder="g"):
        table = GalleryIndex.load(folder).table
        named = zip(map(Path, table.paths), table.identities, table.cameras, strict=True)
        return {path.name: (identity, camera) for path, identity, camera in named}

    built = did("index", "input=people", "index=g", NAMES)
    said = capsys.readouterr().out
    assert "pattern does not match 1 of 7 images of input=people" in " ".join(said.split())
    assert (built["pattern"], names()["extra.png"]) == (PATTERN, ("", ""))
    did("index", "index=g", "remove=0")
    assert did("index", "index=g", "add=more")["pattern"] == PATTERN
    said = capsys.readouterr().out
    assert "own pattern does not match 1 of 2 images of add=more" in " ".join(said.split())
    assert names()["7_c2.png"] == ("7", "2")
    found = did("search", "index=g", "query=more", "exclude_camera=same")["queries"]
    assert [query["camera"] for query in found] == ["2", ""]
    assert not {hit["camera"] for hit in found[0]["hits"]} & {"2"}
    one = did("search", "index=g", "query=more/strange.png", "board.queries=0")["queries"]
    assert one[0]["hits"]  # a query need not be named as the gallery's images are
    none = did("search", "index=g", "query=more/7_c2.png", "pattern=false")["queries"]
    assert none[0]["camera"] == ""

    # one that was built without takes the first that it is given
    did("index", "input=people", "index=plain")
    did("index", "index=plain", "add=more/7_c2.png", NAMES)
    shutil.copy(people / "1_c1.png", more / "8_c1.png")
    did("index", "index=plain", "add=more/8_c1.png")
    assert (names("plain")["8_c1.png"], names("plain")["1_c1.png"]) == (("8", "1"), ("", ""))


def test_added_images_without_cameras_are_said(gallery, composed, people, tmp_path, capsys):
    shutil.copy(people / "1_c1.png", people / "new.png")
    perform(composed, "index", ["index=g", "add=people/new.png"], tmp_path / "a")
    said = " ".join(capsys.readouterr().out.split())
    assert "the gallery has cameras, but those of 1 image of add=people/new.png are unknown" in said


def test_what_embed_has_written_becomes_a_gallery(ask, people):
    ask("embed", f"input={people}", output="embedded", results="embeddings.json")
    built = ask("index", "input=embedded", "index=g", "ckpt=null", output="built")
    direct = ask("index", f"input={people}", "index=h", output="direct")
    assert built["images"] == direct["images"] == 6
    one, other = GalleryIndex.load("g"), GalleryIndex.load("h")
    assert list(one.table.paths) == list(other.table.paths)
    np.testing.assert_allclose(one.embeddings, other.embeddings, atol=1e-5)
    ask("index", "input=embedded", "index=i", "ckpt=null", NAMES, output="named")
    assert GalleryIndex.load("i").table.cameras.tolist() == ["1", "2"] * 3
    with pytest.raises(UserError, match="matches none of the 6 images"):
        ask("index", "input=embedded", "index=j", "pattern='(?P<camera>x)'", output="none")


def test_a_calibration_is_the_minimum_score_of_a_search(ask):
    ask("index", "input=[query,gallery]", "index=g", output="built")
    found = ask("calibrate", "index=g", "false_match_rate=0.05", output="cal",
                results="calibration.json")  # fmt: skip
    gallery = GalleryIndex.load("g")
    known = gallery.table.identities != "distractor"
    assert found["images"] == known.sum() < len(gallery)
    assert found["people"] == 6
    assert 0 < found["false_match"]["value"] <= 0.05
    assert "impostor pairs" in found["said"]
    with Image.open("cal/det.png") as picture:
        assert picture.format == "PNG"
    searched = ask("search", "index=g", "query=query", "minimum_score=cal/calibration.json")
    scores = [hit["score"] for query in searched["queries"] for hit in query["hits"]]
    assert searched["minimum_score"] == found["threshold"] <= min(scores)
    assert len(scores) < 10 * len(searched["queries"])

    pseudo = ask("calibrate", "input=train", "labels=pseudo", "false_match_rate=0.05",
                 output="pseudo", results="calibration.json")  # fmt: skip
    assert any("pseudo labels stand for identities" in text for text in pseudo["cautions"])
    centred = ask("calibrate", "input=train", "labels=pseudo", "clustering.camera=center",
                  "clustering.refine=0.5", "false_match_rate=0.05", output="centred",
                  results="calibration.json")  # fmt: skip
    assert centred["people"] > 1
    assert centred["threshold"] != pseudo["threshold"]
    few = ask("calibrate", "index=g", "false_match_rate=1.0e-7", output="few",
              results="calibration.json")  # fmt: skip
    assert "too few for a false match rate of 1e-07" in few["cautions"][0]
    assert "caution: " in few["said"]


@pytest.fixture
def gallery(people, embedder):
    paths = sorted(people.iterdir())
    built = GalleryIndex.build(embedder.embed(paths), paths, fingerprint=embedder.fingerprint,
                               cameras=["1", "2"] * 3, identities=list("112233"))  # fmt: skip
    built.save("g")
    GalleryIndex.build(built.embeddings, paths, fingerprint=built.fingerprint).save("plain")
    return built


def test_another_model_is_refused(ask, gallery, people):
    path = Path("g", MANIFEST)
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "fingerprint": "f" * 16}))
    for task, *arguments in (("search", f"query={people}"), ("index", f"add={people}")):
        with pytest.raises(UserError, match=f"model {'f' * 16}, not by {gallery.fingerprint}"):
            ask(task, "index=g", *arguments)
    other = {"threshold": 0.5, "fingerprint": "e" * 16}
    Path("calibration.json").write_text(json.dumps(other))
    gallery.save("h")
    with pytest.raises(UserError, match="calibrated for the model eeee"):
        ask("search", "index=h", f"query={people}", "minimum_score=calibration.json")


@pytest.mark.parametrize(
    ("task", "arguments", "said"),
    [
        ("index", [], "give either input= to build a gallery, or add= and remove="),
        ("index", ["input=people", "add=people", "index=g"], "give either input="),
        ("index", ["add=people"], "index= is needed"),
        ("index", ["input=people", "index=g"], "already a gallery; add= and remove= change it"),
        ("index", ["input=people", "index=people"], "exists and is no gallery"),
        ("index", ["input=nowhere"], "input=nowhere: no such file or folder"),
        ("index", ["input=people", "ckpt=null"], "ckpt= is needed"),
        ("index", ["input=people", "kind=pq"], "kind=pq needs at least 256 images, got 6"),
        ("index", ["input=people", "kind=lsh"], "kind must be one of"),
        ("index", ["index=g", "remove=true"], "remove=True: give an id, path or folder"),
        ("index", ["index=g", "remove=[]"], "remove=[]: give an id, path or folder"),
        ("index", ["input=people", "loader.workers=-1"], "loader: workers must be at least 0"),
        ("search", ["index=g", "query=people", "loader.workers=-1"], "workers must be at least 0"),
        ("calibrate", ["input=people", "loader.workers=-1"], "workers must be at least 0"),
        ("index", ["input=people", "dataset.on_error=ignore"], "on_error must be one of fail"),
        ("index", ["input=people", "index=true"], "index must be a path, got True"),
        ("search", ["index=g", "query=people", "board=null"], "board=None: is a section"),
        ("search", ["index=g", "query=people", "exclude_camera=7"],
         "exclude_camera=7: not in the gallery; its cameras are 1, 2"),
        ("search", ["index=plain", "query=people", "exclude_camera=7"],
         "the gallery has no cameras"),
        ("search", ["index=plain", "query=people", "exclude_camera=same"],
         "exclude_camera=same: the gallery has no cameras; task=index reads them"),
        ("index", ["index=g", "remove=77"], "remove=77: no image of the gallery"),
        ("index", ["index=g", "remove=people/absent.png"], "no image of the gallery"),
        ("search", ["index=g"], "query= is needed"),
        ("search", ["query=people"], "index= is needed"),
        ("search", ["index=people", "query=people"], "no gallery there"),
        ("search", ["index=g", "query=notes.txt"], "line 2: 'no image' has no image suffix"),
        ("search", ["index=g", "query=broken.png"], "cannot read the image"),
        ("search", ["index=g", "query=people", "k=0"], "k must be at least 1"),
        ("search", ["index=g", "query=people", "minimum_score=2"], "minimum_score must be in"),
        ("search", ["index=g", "query=people", "minimum_score=a.json"], "neither a number nor"),
        ("search", ["index=g", "query=people", "board.hits=0"], "board.hits must be at least 1"),
        ("search", ["index=g", "query=people", "pattern='(?P<camera>c.)'"],
         "where the gallery has '1'"),
        ("index", ["input=people", "pattern='_x(?P<camera>.)'"],
         "matches none of the 6 images of input=people, the first is '1_c1"),
        ("index", ["input=people", "pattern='(?P<camera>x?)'"], "matches none of the 6 images"),
        ("index", ["input=people", "pattern=true"], "pattern must be a string, got True"),
        ("index", ["input=people", "pattern=''"], "pattern must have named groups"),
        ("index", ["input=gallery", "pattern='(?P<camera>.)'"], "labels come from dataset=; omit"),
        ("index", ["index=g", "add=people", "pattern='(?P<camera>c.)'"],
         "where the gallery has '1'"),
        ("index", ["index=named", "add=more"], "the gallery's own pattern='(?P<identity>\\d+)_c("
         "?P<camera>\\d+)' matches none of the 1 image of add=more, the first is 'x.png'"),
        ("search", ["index=g", "query=people", "pattern='_x(?P<camera>.)'"],
         "matches none of the 6 images of query=people"),
        ("calibrate", ["input=people", "pattern='_x(?P<camera>.)'"], "matches none of the 6"),
        ("calibrate", [], "give either index= (a gallery) or input="),
        ("calibrate", ["index=g", "labels=guess"], "labels must be one of identities, pseudo"),
        ("calibrate", ["index=g", "false_match_rate=0"], "false_match_rate must be in (0, 1)"),
        ("calibrate", ["input=people"], "no genuine pair"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(gallery, composed, tmp_path, task, arguments, said):
    (tmp_path / "notes.txt").write_text("people/1_c1.png\nno image\n")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "more").mkdir()
    shutil.copy(tmp_path / "people" / "1_c1.png", tmp_path / "more" / "x.png")
    gallery.pattern = PATTERN
    gallery.save(tmp_path / "named")
    before = {path: path.read_bytes() for path in (tmp_path / "g").iterdir()}
    with pytest.raises(UserError) as refused:
        perform(composed, task, arguments, tmp_path / "out")
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert {path: path.read_bytes() for path in (tmp_path / "g").iterdir()} == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("harm", ["flipped embeddings", "no table", "no index.json", "a format"])
def test_the_remedy_for_a_damaged_gallery_works(gallery, composed, tmp_path, harm):
    folder = tmp_path / "my g"
    gallery.save(folder)
    if harm == "flipped embeddings":
        path = next(folder.glob("embeddings-*"))
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
    elif harm == "a format":
        path = folder / MANIFEST
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 9}))
    else:
        next(folder.glob("table-*" if harm == "no table" else MANIFEST)).unlink()
    query = [f"index={folder}", "query=people/1_c1.png"]
    with pytest.raises(UserError) as refused:
        perform(composed, "search", query, tmp_path / "a")
    task, *advised = shlex.split(re.search(r"task=index .* replace=true", str(refused.value))[0])
    values = {"input=IMAGES": "input=people", "ckpt=CHECKPOINT": "ckpt=bundled"}
    perform(composed, task.removeprefix("task="), [values.get(a, a) for a in advised],
            tmp_path / "b")  # fmt: skip
    found = perform(composed, "search", query, tmp_path / "c")
    assert found["images"] == 6
    assert found["queries"][0]["hits"][0]["path"].endswith("1_c2.png")


def test_unreadable_images_can_be_skipped(ask, embedder, people):
    (people / "0_c1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"set dataset\.on_error=skip"):
        ask("index", f"input={people}", output="refused")
    built = ask("index", f"input={people}", "dataset.on_error=skip")
    assert built["images"] == 6
    assert "1 unreadable image skipped" in built["said"]
    index = GalleryIndex.load("out/gallery")
    embeddings = embedder.embed(list(index.table.paths))
    np.testing.assert_allclose(index.embeddings, embeddings.numpy(), atol=1e-5)


def test_a_board_has_a_place_for_what_is_gone(ask, gallery, people):
    (people / "1_c2.png").unlink()
    found = ask("search", "index=g", f"query={people}/1_c1.png", "k=1")
    assert found["queries"][0]["hits"][0]["path"].endswith("1_c2.png")
    with Image.open("out/board.png") as board:
        assert board.size[0] > 200


@pytest.mark.slow
def test_names_that_look_like_numbers_and_sizes_beyond_the_gallery(by_command, gallery, people):
    built = by_command("index", f"input={people}", "index=777", NAMES, output="a")
    assert built["gallery"] == str(Path("777").absolute())
    shutil.copytree(people, "2024")
    asked = ["k=1000000000000", "board.hits=100000000", NAMES]
    found = by_command("search", "index=777", "query=2024", *asked, output="b")
    assert [len(query["hits"]) for query in found["queries"]] == [6] * 6
    by_command(
        "calibrate", "index=777", "false_match_rate=0.5", output="c", results="calibration.json"
    )
    by_command("embed", "input=2024", output="d", results="embeddings.json")
    shutil.move("d", "555")
    assert by_command("index", "input=555", "ckpt=null", output="e")["images"] == 6


def test_a_gallery_under_the_home_folder_is_named_in_full(by_command, gallery, people, monkeypatch):
    monkeypatch.setenv("HOME", str(people.parent))
    found = by_command("search", 'index="~/g"', f"query={people}", "board.queries=0")
    assert found["gallery"] == str(people.parent / "g")


def test_a_calibrated_threshold_above_one_lets_nothing_in(ask, gallery, people):
    facts = {"threshold": 1.000001, "fingerprint": gallery.fingerprint}
    Path("calibration.json").write_text(json.dumps(facts))
    Path("copies").mkdir()
    shutil.copy(people / "1_c1.png", "copies")  # the score of the original is 1
    found = ask("search", "index=g", "query=copies", "minimum_score=calibration.json")
    assert not found["queries"][0]["hits"]
