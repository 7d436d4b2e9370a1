"""task=identify: from images, tables, galleries and embeddings to identities that stay."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import yaml
from PIL import Image

from dccc_lightning import GalleryIndex, load_embedder
from dccc_lightning.data.image_list import ListedImage, read_table, write_table
from dccc_lightning.errors import UserError
from dccc_lightning.tasks import identify_inputs
from dccc_lightning.tasks.identify import identify
from dccc_lightning.tasks.identify_rule import Rule

MODEL = "ab" * 8


@pytest.fixture
def ask(composed, tmp_path, monkeypatch, capsys):
    """Run the task; return its results, with its table by column and its terminal output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, output="out"):
        settings = composed("task=identify", "ckpt=bundled", changes=arguments)
        results = identify(settings, tmp_path / output)
        assert json.loads(Path(output, "identities.json").read_text()) == results
        table = pyarrow.parquet.ParquetFile(Path(output, "identities.parquet")).read()
        return {**results, "table": table.to_pydict(), "said": capsys.readouterr().out}

    return run


def embedded(folder, people, per_person=6, names=None, seed=0, model=MODEL):
    """Write an output of task=embed: ``people`` directions with a few images each, six cameras."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(40, 32))
    rows, images = [], []
    for person in people:
        for n in range(per_person):
            rows.append(centres[person] + 0.3 * rng.normal(size=32))
            name = (names or "p{person:02d}_{n}_{seed}.jpg").format(person=person, n=n, seed=seed)
            images.append(ListedImage(f"/images/{name}", f"0{n}", str(person)))
    folder.mkdir()
    np.save(folder / "embeddings.npy", np.array(rows, dtype=np.float32))
    write_table(folder / "images.parquet", images)
    facts = {"file_format": "npy", "feature_dim": 32, "fingerprint": model, "source": "/images"}
    (folder / "embeddings.json").write_text(json.dumps(facts))
    return folder


def by_path(found, column="identity"):
    return dict(zip(found["table"]["path"], found["table"][column], strict=True))


def test_images_of_one_individual_have_one_id(ask, tmp_path):
    embedded(tmp_path / "e", range(8))
    with pytest.warns(UserWarning, match=r"input: cameras have 8.0 images on average \(6 cameras"):
        found = ask("input=e", "k1=5")
    assert (found["identities"], found["images"]) == (8, 48)
    assert found["scores"]["idf1"] == found["scores"]["ari"] == found["scores"]["purity"] == 1
    assert found["new_identities"] == [f"id{n:04d}" for n in range(1, 9)]
    assert found["table"]["path"] == sorted(found["table"]["path"])
    assert found["table"]["camera"][:2] == ["00", "01"]
    assert min(found["table"]["margin"]) > 0
    assert "mean Jaccard distance 0.7 (label-free rule)" in found["said"]
    assert "review.html asks about the most doubtful" in found["said"]
    assert {path.name for path in Path("out").iterdir()} == {
        "identities.parquet", "identities.csv", "identities.html", "identities.json",
        "embeddings.npy", "review.html",
    }  # fmt: skip


def test_the_order_of_the_files_does_not_matter(ask, tmp_path):
    folder = embedded(tmp_path / "e", range(5))
    first = ask("input=e", "k1=5", output="one")
    rows = np.load(folder / "embeddings.npy")
    images = pyarrow.parquet.ParquetFile(folder / "images.parquet").read().to_pylist()
    order = np.random.default_rng(3).permutation(len(rows))
    np.save(folder / "embeddings.npy", rows[order])
    write_table(folder / "images.parquet", [ListedImage(**images[n]) for n in order])
    again = ask("input=e", "k1=5", output="two")
    assert by_path(again) == by_path(first)
    for name in ("identities.csv", "embeddings.npy"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_new_images_join_and_a_stranger_opens_an_identity(ask, tmp_path):
    embedded(tmp_path / "e", range(6))
    first = ask("input=e", "k1=5", output="one")
    embedded(tmp_path / "more", [4, 2, 20], per_person=3, seed=1)
    more = ask("input=more", "known=one", "k1=5", output="two")
    old, new = by_path(first), by_path(more)
    assert {path: new[path] for path in old} == old
    assert (more["images"], more["new_images"], more["new_identities"]) == (45, 9, ["id0007"])
    assert new["/images/p04_0_1.jpg"] == old["/images/p04_0_0.jpg"]
    assert new["/images/p20_0_1.jpg"] == "id0007"
    assert more["table"]["earlier"].count(None) == 9

    again = ask("input=more", "known=two", "k1=5", output="three")  # nothing new
    assert by_path(again) == new
    assert (again["new_images"], again["new_identities"], again["changed_images"]) == (0, [], 0)
    assert "already in known: 9 images" in again["said"]


def test_settings_of_before_that_are_left_out_are_named(ask, tmp_path):
    embedded(tmp_path / "e", range(4))
    ask("input=e", "k1=5", "cut_tracklets=false", output="my people")
    page = Path("my people/review.html").read_text()
    assert "known='my people' decisions=decisions.csv output=NEW k1=5 cut_tracklets=false<" in (
        page.replace(f"{tmp_path}/", "").replace("&#39;", "'")
    )
    Path("my people/config.yaml").write_text("k1: 5\ncut_tracklets: false\ncamera: null\n")
    said = ask("known='my people'", "k1=4", output="two")["said"]
    assert "note: known='my people' was made with cut_tracklets=false, this is not" in said
    assert "was made with" not in ask("known='my people'", "k1=4", "cut_tracklets=false")["said"]


def test_ids_and_names_of_ones_own_stay_text(ask, tmp_path):
    embedded(tmp_path / "e", range(4))
    paths = [f"/images/p{person:02d}_{n}_0.jpg" for person in (3, 1, 2) for n in range(4)]
    ids = ["0007"] * 4 + ["NA"] * 4 + ["1e5"] * 4
    names = ["Anna"] * 4 + [""] * 8
    lines = [f'"{p}",{i},{n}\n' for p, i, n in zip(paths, ids, names, strict=True)]
    (tmp_path / "people.csv").write_text("path,identity,name\n" + "".join(lines))
    found = ask("input=e", "known=people.csv", "k1=5", output="one")
    own = by_path(found)
    assert [own[f"/images/p0{n}_5_0.jpg"] for n in range(4)] == ["id0001", "NA", "1e5", "0007"]
    named = zip(found["table"]["name"], own.values(), strict=True)
    assert {name for name, identity in named if identity == "0007"} == {"Anna"}
    again = ask("known=one", "k1=5", output="two")
    assert by_path(again) == own
    assert again["table"]["name"] == found["table"]["name"]


def test_a_removed_person_is_in_no_file_and_the_id_is_not_used_again(ask, tmp_path):
    embedded(tmp_path / "e", range(3))
    first = ask("input=e", "k1=5", output="one")
    gone = by_path(first)["/images/p02_0_0.jpg"]
    assert gone == "id0003"
    second = ask("known=one", f"remove=[{gone}]", "k1=5", output="two")
    assert "p02_" not in "".join(
        path.read_text(errors="replace") for path in Path("two").glob("*.*")
    )
    assert len(np.load("two/embeddings.npy")) == second["images"] == 12
    embedded(tmp_path / "more", [9], seed=1)
    assert ask("known=two", "input=more", "k1=5", output="3")["new_identities"] == ["id0004"]
    for entry, left in (("/images/p00_0_0.jpg", 17), ("/images", 0)):
        if left:
            assert ask("known=one", f"remove={entry}", "k1=5", output=f"l{left}")["images"] == left
        else:
            with pytest.raises(UserError, match="would be left"):
                ask("known=one", f"remove={entry}", output="none")


def test_a_gallery_and_a_table_in_another_order(ask, tmp_path):
    folder = embedded(tmp_path / "e", range(4))
    images = pyarrow.parquet.ParquetFile(folder / "images.parquet").read().to_pydict()
    GalleryIndex.build(
        np.load(folder / "embeddings.npy"), images["path"], cameras=images["camera"],
        fingerprint=MODEL, kind="flat",
    ).save(tmp_path / "g")  # fmt: skip
    lines = [f"{path},T{n // 6},{n}\n" for n, path in enumerate(images["path"])]
    (tmp_path / "t.csv").write_text("path,tracklet,frame\n" + "".join(lines[::-1]))
    found = ask("index=g", "table=t.csv", "k1=5", "camera=center")
    assert found["fingerprint"] == MODEL
    assert found["identities"] == 4
    assert found["table"]["tracklet"] == [f"T{n // 6}" for n in range(24)]
    assert found["table"]["frame"] == [str(n) for n in range(24)]
    assert found["table"]["camera"] == sorted(images["camera"][:6]) * 4


def test_a_calibrated_threshold_and_its_meaning(ask, tmp_path):
    embedded(tmp_path / "e", range(6))
    facts = {
        "threshold": 0.6, "fingerprint": MODEL,
        "false_match": {"value": 0.01, "low": 0.005, "high": 0.02},
    }  # fmt: skip
    (tmp_path / "calibration.json").write_text(json.dumps(facts))
    found = ask("input=e", "threshold=calibration.json")
    assert found["identities"] == 6
    pairs = 36 * 35 // 2 - 6 * 15  # of different cameras
    assert found["rule"]["expected_false_matches"] == pytest.approx(0.01 * pairs)
    assert (
        f"at most {0.01 * pairs:,.0f} false merges are expected among the {pairs} pairs"
        in (found["said"])
    )
    for changed, expected in (
        ({"fingerprint": "other"}, "calibrated for the model other"),
        ({"false_match": 3}, "not a calibration.json"),
    ):
        (tmp_path / "calibration.json").write_text(json.dumps({**facts, **changed}))
        with pytest.raises(UserError, match=expected):
            ask("input=e", "threshold=calibration.json", output="no")
    assert not Path("no").exists()


def test_the_threshold_of_a_run_is_its_last_eps_with_its_neighbourhoods(ask, tmp_path):
    embedded(tmp_path / "e", range(6))
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.csv").write_text("epoch,step,cluster/eps\n0,1,0.6\n1,2,0.55\n")
    clustering = {"k1": 5, "k2": 2, "camera": "center"}
    (run / "config.yaml").write_text(yaml.safe_dump({"clustering": clustering}))
    found = ask("input=e", "threshold=run", "ckpt=run")
    rule = found["rule"]
    assert {name: rule[name] for name in ("threshold", *clustering)} == {
        "threshold": 0.55, **clustering
    }  # fmt: skip
    assert "0.55 (last eps of run)" in found["said"]
    assert ask("input=e", "threshold=run", "ckpt=run", "k1=9", output="2")["rule"]["k1"] == 9
    for own, camera in (("whiten", "center"), ("ca_jaccard", "none"), ("penalty", "none")):
        (run / "config.yaml").write_text(f"clustering: {{k1: 5, camera: {own}}}")
        assert ask("input=e", "threshold=run", "ckpt=run", output=own)["rule"]["camera"] == camera
    (run / "metrics.csv").write_text("epoch,step,val/mAP\n0,1,0.6\n")
    for ckpt in ("run", "bundled", "null"):
        with pytest.raises(UserError, match="threshold=run"):
            ask("input=e", "threshold=run", f"ckpt={ckpt}", output="no")


MISTAKES = {
    "input=e index=g": "not both",
    "known=one table=short.csv": "table= labels the images of input= or index=",
    "": "input= is needed",
    "input=e remove=x": "known= is needed",
    "input=e threshold=0": "threshold must be",
    "input=e threshold=0.96": "threshold must be",
    "input=e threshold=nowhere.json": "neither a number nor a calibration.json",
    "input=e k1=3 k2=4": "k2 must be",
    "input=e camera=penalty": "camera must be one of none, center, whiten",
    "input=e folders=2": "folders must be",
    "input=e known=nowhere": "known=nowhere: no such file or folder",
    "input=e known=e": "no identities.parquet",
    "input=e table=nowhere.csv": "table=nowhere.csv: no such file",
    "input=e table=short": "short: a folder; give a .csv or .parquet file",
    "input=e table=short.csv": "no row for 17 of 18 images",
    "input=e known=anonymous.csv": "no identity in row 2",
    "input=e known=short.csv": "no column identity",
    "input=other known=one": "embedded by the model",
    "known=one remove=nobody": "remove=nobody: no known image",
    "known=short": "no identities.parquet",
    "known=torn": "do not belong together",
    "input=missing.csv": "no such file",
    "input=e table=capital.csv": "a column 'Camera', not 'camera'; rename it",
    "input=e table=spaced.csv": "a column ' camera', not 'camera'; rename it",
    "input=e known=two_names.csv": "id1 has two names, Ann and Bo; keep one of them",
    "known=one remove=/images": "remove=/images: no image of known=one would be left",
    "input=unseen camera=center": "camera=center: no camera of these images is known; give them",
    "known=one decisions=itself.csv": "itself.csv, row 1: /images/p00_0_0.jpg is one image",
    "index=nowhere": "no gallery there",
}


def test_mistakes_are_one_line_and_leave_nothing(ask, tmp_path):
    embedded(tmp_path / "e", range(3))
    embedded(tmp_path / "other", [9], model="cd" * 8)
    for name in ("one", "torn"):
        ask("input=e", output=name)
    np.save(tmp_path / "torn" / "embeddings.npy", np.zeros((3, 32), dtype=np.float32))
    (tmp_path / "short").mkdir()
    (tmp_path / "short.csv").write_text("path\n/images/p00_0_0.jpg\n")
    (tmp_path / "anonymous.csv").write_text("path,identity\n/images/a.jpg,1\n/images/b.jpg,\n")
    write_table(
        embedded(tmp_path / "unseen", [4]) / "images.parquet",
        [ListedImage(f"/images/{n}.jpg") for n in range(6)],
    )
    (tmp_path / "capital.csv").write_text("path,Camera\n/images/p00_0_0.jpg,1\n")
    (tmp_path / "spaced.csv").write_text("path, camera\n/images/p00_0_0.jpg,1\n")
    (tmp_path / "two_names.csv").write_text("path,identity,name\na.jpg,id1,Ann\nb.jpg,id1,Bo\n")
    itself = "/images/p00_0_0.jpg"
    (tmp_path / "itself.csv").write_text(f"first,decision,second\n{itself},different,{itself}\n")
    for words, expected in MISTAKES.items():
        with pytest.raises(UserError) as caught:
            ask(*words.split(), output="no")
        assert expected in str(caught.value), (words, str(caught.value))
        assert len(str(caught.value).splitlines()) == 1
        assert not Path("no").exists(), words


def test_large_neighbourhoods_and_known_images_that_are_absent_are_noted(ask, tmp_path):
    embedded(tmp_path / "e", range(8))
    found = ask("input=e", output="large")
    assert "k1=20 for 48 images: different individuals may become one" in found["said"]
    assert found["identities"] < 8
    (tmp_path / "known.csv").write_text("path,identity\n/images/p00_0_0.jpg,a\n/images/x.jpg,b\n")
    said = ask("input=e", "known=known.csv", "k1=6", output="small")["said"]
    assert "neighbourhoods of k1" not in said  # chosen
    assert "1 of 2 images of known=known.csv are not in input= or index=" in said


def test_removed_images_do_not_come_back_with_the_input(ask, tmp_path):
    embedded(tmp_path / "e", range(4))
    first = ask("input=e", "k1=6", output="first")
    gone = first["table"]["identity"][0]
    for known in ("first", "first/identities.csv"):
        found = ask("input=e", "k1=6", f"known={known}", f"remove={gone}", output="later")
        assert found["images"] == 18
        assert gone not in found["table"]["identity"]


def test_a_sorted_table_of_ones_own_output_is_matched_by_path(ask, tmp_path):
    embedded(tmp_path / "e", range(4))
    first = ask("input=e", "k1=5", output="one")
    table = pyarrow.parquet.ParquetFile("one/identities.parquet").read()
    pyarrow.parquet.write_table(table.take(list(range(len(table)))[::-1]), "one/identities.parquet")
    assert by_path(ask("known=one", "k1=5", output="two")) == by_path(first)
    assert Path("one/embeddings.npy").read_bytes() == Path("two/embeddings.npy").read_bytes()


def test_images_are_embedded_and_an_unreadable_one_can_be_skipped(ask, tmp_path, monkeypatch):
    embedder = load_embedder("bundled", device="cpu")
    monkeypatch.setattr(identify_inputs, "loaded_embedder", lambda _: embedder)
    rng = np.random.default_rng(0)
    (tmp_path / "people").mkdir()
    for person, colour in enumerate([(200, 30, 30), (30, 200, 30), (30, 30, 200)]):
        for n in range(3):
            pixels = np.full((48, 24, 3), colour) + rng.integers(-25, 25, (48, 24, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(f"people/{person}_{n}.png")
    Path("people/broken.png").write_text("no image")
    with pytest.raises(UserError, match=r"broken.png.*resume=.*dataset.on_error=skip"):
        ask("input=people", "k1=3", "k2=1")
    rows = "people/0_0.png,same,people/1_0.png\npeople/1_0.png,different,people/0_0.png\n"
    Path("clash.csv").write_text(f"first,decision,second\n{rows}")
    with pytest.raises(UserError, match=r"different by row 2 of clash\.csv"):  # as a new one
        ask("input=people", "decisions=clash.csv")
    assert Path("out/embedding").exists()
    found = ask("input=people", "k1=3", "k2=1", "dataset.on_error=skip", "folders=true")
    assert (found["images"], found["identities"]) == (9, 3)
    assert not Path("out/embedding").exists()
    assert len(list(Path("out/folders").rglob("*.png"))) == 9

    lines = [f"people/{p}_{n}.png,c{n}\n" for p in (2, 0) for n in range(3)]
    (tmp_path / "list.csv").write_text("path,camera\n" + "".join(lines))
    listed = ask("input=list.csv", "k1=3", "k2=1", output="listed")
    assert listed["table"]["camera"] == ["c0", "c1", "c2"] * 2
    assert listed["identities"] == 2
    ids = by_path(found)
    both = ask("input=people", "known=listed", "dataset.on_error=skip", "k1=3", output="both")
    assert both["new_images"] == 3
    assert len({by_path(both)[path] for path in ids}) == 3


def test_tracklets_and_decisions_join_divide_and_name(ask, tmp_path):
    embedded(tmp_path / "e", range(4))
    names = [f"/images/p{person:02d}_{n}_0.jpg" for person in range(4) for n in range(6)]
    free = by_path(ask("input=e", "k1=5", output="free"))
    assert len(set(free.values())) == 4
    # one tracklet over two people of the embeddings, and two at one time that look alike
    cells = {names[0]: ("c", "T", "5"), names[6]: ("c", "T", "9"),
             names[12]: ("c", "U", "7"), names[13]: ("c", "V", "7")}  # fmt: skip
    lines = [",".join((name, *cells.get(name, ("c", "", "")))) for name in names]
    (tmp_path / "t.csv").write_text("path,camera,tracklet,frame\n" + "\n".join(lines) + "\n")
    found = by_path(ask("input=e", "table=t.csv", "k1=5", output="tracked"))
    assert found[names[0]] == found[names[6]]
    assert found[names[12]] != found[names[13]]

    decisions = [(names[0], "same", names[18]), (names[1], "name", "0007"),
                 (names[7], "different", names[8]), ("gone.jpg", "name", "x")]  # fmt: skip
    rows = "".join(",".join(row) + "\n" for row in decisions)
    (tmp_path / "d.csv").write_text("first,decision,second\n" + rows)
    second = ask("known=free", "decisions=d.csv", "k1=5", output="decided")
    own = by_path(second)
    assert own[names[0]] == own[names[18]]
    assert own[names[7]] != own[names[8]]
    called = dict(zip(own.values(), second["table"]["name"], strict=True))
    assert [name for name in called.values() if name] == ["0007"]
    assert called[own[names[1]]] == "0007"
    assert "1 decision left out, about images" in second["said"]
    page = Path("decided/review.html").read_text().split('id="review-data">')[1]
    saved = [row["row"] for row in json.loads(page.split("</script>")[0])["earlier"]]
    assert sorted(saved) == sorted(list(row) for row in decisions if row[2] in {*names, "0007"})
    third = ask("known=decided", "k1=5", output="third")  # the name stays
    assert dict(zip(by_path(third), third["table"]["name"], strict=True))[names[1]] == "0007"

    for rows, expected in (
        (f"{names[0]},different,{names[6]}", "different by row 1 of d.csv, and the same by trackl"),
        (f"{names[12]},same,{names[13]}", "tracklets U and V, which overlap in time, and the same"),
        (f"{names[1]},name,A\n{names[2]},name,B", "has two names, A and B"),
    ):
        (tmp_path / "d.csv").write_text(f"first,decision,second\n{rows}\n")
        with pytest.raises(UserError, match=expected):
            ask("input=e", "table=t.csv", "decisions=d.csv", "k1=5", output="no")
    assert not Path("no").exists()


def test_frames_of_embedded_images_keep_tracklets_apart(ask, tmp_path):
    folder = embedded(tmp_path / "e", range(4), per_person=8)
    file = folder / "images.parquet"
    images = list(read_table(file))
    halves = [  # of each individual two tracklets of one camera, at the same time
        image._replace(camera="c", tracklet=f"{n // 4}", frame=f"{n % 4}")
        for n, image in enumerate(images)
    ]
    write_table(file, halves)
    found = ask("input=e", "k1=3")
    assert found["identities"] == 8
    assert found["table"]["frame"] == [image.frame for image in halves]
    without = pyarrow.parquet.ParquetFile(file).read().drop_columns(["frame"])
    pyarrow.parquet.write_table(without, file)  # as task=embed wrote it before it knew frames
    assert ask("input=e", "k1=3", output="before")["identities"] == 4


def test_neighbourhoods_are_counted_in_tracklets(ask, tmp_path):
    embedded(tmp_path / "e", range(6), per_person=12)
    lines = [f"/images/p{p:02d}_{n}_0.jpg,c,{p}{n // 6}" for p in range(6) for n in range(12)]
    (tmp_path / "t.csv").write_text("path,camera,tracklet\n" + "\n".join(lines) + "\n")
    found = ask("input=e", "table=t.csv")
    assert [found["rule"][key] for key in ("k1", "k2", "neighbors")] == [6, 2, "tracklets"]
    assert "note: neighbourhoods of k1=6 for 12 tracklets" in found["said"]
    assert "tracklets of one identity share at least 0.3" in found["said"]
    found = ask("input=e", "table=t.csv", "k1=3")
    assert [found["rule"][key] for key in ("k1", "k2")] == [3, 2]
    assert found["scores"]["idf1"] == 1
    for k1, k2, wanted in ((20, 6, (18, 5)), (None, 6, (18, 6)), (4, None, (4, 4))):
        rule = Rule({"k1": k1 or 20, "k2": k2 or 6}, "")
        settings = {"k1": k1 if k1 != 20 else None, "k2": None if k2 != 6 or k1 == 20 else k2}
        own = rule.for_tracklets(settings, 90, 100).arguments
        assert (own["k1"], own["k2"]) == wanted


def test_tracklets_of_exchanged_people_become_two_and_one_again(ask, tmp_path):
    embedded(tmp_path / "e", range(8), per_person=8)
    paths = [f"/images/p{person:02d}_{n}_0.jpg" for person in range(8) for n in range(8)]
    # two tracks follow each other's person after the third image
    tracks = [
        f"h/{1 - n // 8 if n < 16 and n % 8 > 2 else n // 8},{10 * (n % 8)}" for n in range(64)
    ]
    rows = "".join(f"{path},h,{own}\n" for path, own in zip(paths, tracks, strict=True))
    (tmp_path / "t.csv").write_text(f"path,camera,tracklet,frame\n{rows}")
    whole = ask("input=e", "table=t.csv", "k1=3", "k2=1", "cut_tracklets=false", output="whole")
    assert (whole["cut_tracklets"], "cut where" in whole["said"]) == ([], False)
    assert by_path(whole)[paths[0]] == by_path(whole)[paths[11]]
    found = ask("input=e", "table=t.csv", "k1=3", "k2=1", output="cut")
    assert "2 tracklets cut where people were exchanged: h/0, h/1; a decision same" in found["said"]
    assert found["cut_tracklets"] == ["h/0", "h/1"]
    ids, names = by_path(found), by_path(found, "tracklet")
    assert ids[paths[0]] == ids[paths[3]] != ids[paths[11]] == ids[paths[8]]
    assert [names[paths[n]] for n in (0, 3, 11, 8, 16)] == [
        "h/0 cut 1", "h/1 cut 2", "h/0 cut 2", "h/1 cut 1", "h/2",
    ]  # fmt: skip

    again = ask("known=cut", "k1=3", "k2=1", output="again")  # pieces stay, and are not cut again
    assert (by_path(again), again["cut_tracklets"]) == (ids, [])
    lines = "\n".join(("first,decision,second", f"{paths[3]},different,{paths[8]}"))
    (tmp_path / "d.csv").write_text(f"{lines}\n")
    ask("known=cut", "decisions=d.csv", "k1=3", "k2=1", output="apart")  # between two pieces
    (tmp_path / "d.csv").write_text(f"first,decision,second\n{paths[0]},same,{paths[11]}\n")
    for source in (("input=e", "table=t.csv"), ("known=cut",)):
        undone = ask(*source, "decisions=d.csv", "k1=3", "k2=1", output="undone")
        assert by_path(undone)[paths[0]] == by_path(undone)[paths[11]]
        names = by_path(undone, "tracklet")
        assert [names[paths[n]] for n in (0, 11)] == ["h/0", "h/0"]
        assert names[paths[3]] == "h/1 cut 2"
        assert "h/0" not in undone["cut_tracklets"]


def test_names_decided_stay_text(ask, tmp_path):
    embedded(tmp_path / "e", range(6))
    names = ["0007", "NA", "1e5", "true", "1_000", " 7"]
    rows = "".join(f'/images/p{p:02d}_0_0.jpg,name,"{name}"\n' for p, name in enumerate(names))
    (tmp_path / "d.csv").write_text("first,decision,second\n" + rows)
    found = ask("input=e", "decisions=d.csv", "k1=5", output="one")
    expected = dict(zip(by_path(found), [n for n in names for _ in range(6)], strict=True))
    for again in ("one", "one/identities.csv", "one/identities.parquet"):
        source = "" if again == "one" else "input=e"
        later = ask(*filter(None, (f"known={again}", source, "k1=5")), output="two")
        assert dict(zip(by_path(later), later["table"]["name"], strict=True)) == expected
    page = Path("one/review.html").read_text().split('id="review-data">')[1]
    earlier = [row["row"] for row in json.loads(page.split("</script>")[0])["earlier"]]
    assert [row[2] for row in earlier] == names


def pairs_in(folder):
    rows = Path(folder, "decisions.csv").read_text().splitlines()[1:]
    return sorted(
        tuple(Path(cell).name.removesuffix("_0.jpg") for cell in row.split(",")) for row in rows
    )


def test_decisions_hold_in_later_commands_until_they_are_dropped(ask, tmp_path):
    embedded(tmp_path / "e", range(4))
    names = [f"/images/p{person:02d}_{n}_0.jpg" for person in range(4) for n in range(6)]

    def decide(*rows):
        text = "".join(f"{names[one]},{kind},{names[other]}\n" for one, kind, other in rows)
        (tmp_path / "d.csv").write_text(f"first,decision,second\n{text}")

    decide((0, "same", 6), (7, "same", 12), (13, "different", 14))
    decided = by_path(ask("input=e", "decisions=d.csv", "k1=5", output="one"))
    assert decided[names[0]] == decided[names[6]]
    embedded(tmp_path / "more", [9], seed=1)
    later = by_path(ask("known=one", "input=more", "k1=5", output="two"))
    assert {path: later[path] for path in decided} == decided
    assert pairs_in("two") == pairs_in("one")
    assert len(pairs_in("one")) == 3
    again = by_path(ask("known=two/identities.csv", "input=e", "k1=5", output="again"))
    assert again == decided
    # A table elsewhere has nothing to do with a decisions.csv that lies beside it.
    Path("mine").mkdir()
    for name in ("identities.csv", "decisions.csv"):
        Path("mine", name).write_bytes(Path("two", name).read_bytes())
    ask("known=mine/identities.csv", "input=e", "k1=5", output="mine_out")
    assert not Path("mine_out/decisions.csv").exists()

    # A new decision about the same two images replaces the kept one; one that follows from others
    # contradicts them.
    decide((12, "different", 7))
    other = by_path(ask("known=two", "decisions=d.csv", "k1=5", output="three"))
    assert other[names[7]] != other[names[12]]
    assert ("p02_0", "different", "p01_1") in pairs_in("three")
    decide((6, "same", 1), (0, "different", 1))
    with pytest.raises(
        UserError, match=r"row 2 of d.csv, and the same by row 1 of .*two/decisions"
    ):
        ask("known=two", "decisions=d.csv", "k1=5", output="no")

    # Images that go take no decision about the others with them, and leave none behind.
    for left, removed in ((("p00_0", "same", "p02_0"),), ["p01_0", "p01_1"]), ((), ["p00_0"]):
        decide((0, "same", 6), (6, "same", 7), (7, "same", 12))
        ask("input=e", "decisions=d.csv", "k1=5", output="chain")
        gone = [f"/images/{name}_0.jpg" for name in removed]
        ask("known=chain", f"remove={json.dumps(gone)}", "k1=5", output="less")
        assert not any(set(row) & set(removed) for row in pairs_in("less"))
        if left:
            assert pairs_in("less") == list(left)

    free = by_path(ask("known=two", "keep_decisions=false", "k1=5", output="free"))
    assert free[names[0]] != free[names[6]]
    assert not Path("free/decisions.csv").exists()
    ask("known=one", "keep_decisions=false", "k1=5", output="one")  # into the same folder
    assert not Path("one/decisions.csv").exists()


def test_what_contradicts_is_told_before_images_are_embedded(ask, tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    for n in range(3):
        Image.new("RGB", (16, 32), (80 * n, 0, 0)).save(tmp_path / f"images/{n}.png")
    lines = (
        "path,camera,tracklet,frame\nimages/0.png,a,1,1\nimages/1.png,a,1,2\nimages/2.png,a,2,2\n"
    )
    (tmp_path / "t.csv").write_text(lines)
    rates = {"value": 0.01, "low": 0.0, "high": 0.1}
    other = {"threshold": 0.5, "fingerprint": MODEL, "false_match": rates}
    (tmp_path / "calibration.json").write_text(json.dumps(other))
    (tmp_path / "d.csv").write_text("first,decision,second\nimages/0.png,different,images/1.png\n")
    (tmp_path / "twice.csv").write_text(
        "first,decision,second\nimages/0.png,name,A\nimages/0.png,name,B\n"
    )
    (tmp_path / "labels.csv").write_text("path,camera\nimages/0.png,a\n")
    embedded(tmp_path / "e", range(2))
    ask("input=e", "k1=3", output="before")

    def refuse(*args, **kwargs):
        raise AssertionError("embedded")

    monkeypatch.setattr(identify_inputs.BulkEmbedding, "run", refuse)
    for arguments, expected in (
        (("input=t.csv", "decisions=d.csv"), "are different by row 1 of d.csv, and the same by tr"),
        (("input=t.csv", "decisions=twice.csv"), "row 2 of twice.csv: .* has the name A already"),
        (("input=t.csv", "threshold=calibration.json"), "calibrated for the model abab"),
        (("input=images", "camera=center"), "no camera of these images is known"),
        (("input=images", "table=labels.csv"), "no row for 2 of 3 images"),
        (("input=images", "known=before"), "embedded by the model abababab"),
    ):
        with pytest.raises(UserError, match=expected):
            ask(*arguments, output="no")
        assert not Path("no").exists()
    with pytest.raises(UserError, match="keep_decisions must be true or false"):
        ask("input=images", "keep_decisions=2", output="no")
