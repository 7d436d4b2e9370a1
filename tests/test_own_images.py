"""One's own images: the tree, labels from a pattern or a table, and the division into splits."""

import os
import re
import string
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dccc_lightning.data.datasets.folder import ImageFolder
from dccc_lightning.data.datasets.image_labels import ImageLabels, PathPattern
from dccc_lightning.data.datasets.image_tree import walk_images
from dccc_lightning.data.datasets.label_rules import DISTRACTORS, JUNK, LabelRules
from dccc_lightning.data.datasets.label_table import read_table
from dccc_lightning.data.datasets.split_assignment import (
    assign_splits,
    choose_identities,
    choose_queries,
)
from dccc_lightning.data.datasets.unknown_labels import UNKNOWN_WORDS
from dccc_lightning.data.image_cache import ImageStore
from dccc_lightning.data.image_formats import READ, SUFFIXES, kind_of
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.errors import UserError
from trees import LAST, MARKET, grow, known, touch

REMEDY = "dataset=folder dataset.unknown=[WORDS] sets these words"

NAMES = r"(?P<camera>cam[^/]*)/(?P<identity>[a-z]+)_\d+\."


def relative(root, records):
    return [path.relative_to(root).as_posix() for path in records.paths]


def table(folder, text, name="labels.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def outcome_of(call, refusal):
    """What a call returns, or the message that it refuses with."""
    try:
        return call(), ""
    except refusal as error:
        return None, str(error)


@pytest.fixture
def market(tmp_path):
    """Six people under two cameras, two images each; a seventh under one camera."""
    root = tmp_path / "crops_cam9"  # would mislead a pattern searched for in the whole path
    for person in "abcdef":
        touch(root, *(f"cam{c}/{person}_{i}.jpg" for c in (1, 2) for i in (0, 1)))
    touch(root, "cam1/solo_0.jpg", "cam1/solo_1.jpg")
    return root


def sorted_tree(root, outside=False):
    return sorted(walk_images(root, outside))


class TestTree:
    def test_images_are_found_by_suffix_in_any_case_sorted_and_without_hidden_ones(self, tmp_path):
        touch(tmp_path, "b/2.JPG", "b/1.jpeg", "a.PnG", "c/d/e/x.bmp", "z.WEBP", "d.TIF", "d.JFIF")
        touch(tmp_path, ".hidden.jpg", ".git/x.jpg", "b/._1.jpeg", "notes.txt", "x.gif", "jpg")
        assert sorted_tree(tmp_path) == [
            "a.PnG", "b/1.jpeg", "b/2.JPG", "c/d/e/x.bmp", "d.JFIF", "d.TIF", "z.WEBP",
        ]  # fmt: skip

    def test_every_suffix_is_decoded(self, tmp_path):
        for kind, suffixes in READ.items():
            for suffix in suffixes:
                image = Image.new("RGB", (8, 16), (200, 0, 0))
                image.save(tmp_path / f"x{suffix}", format=kind, quality=100)
        store = ImageStore(ImageFolder(root=tmp_path).splits().train.paths, 16, 8)
        assert store.preload() == []
        assert len(store) == len(SUFFIXES) == 9
        red = store.load(range(9)).float().mean(dim=(2, 3))
        assert np.allclose(red, [[200, 0, 0]] * 9, atol=3)

    def test_a_link_to_somewhere_inside_is_left_out(self, tmp_path):
        touch(tmp_path, "real/a.jpg")
        (tmp_path / "again").symlink_to(tmp_path / "real")
        (tmp_path / "b.jpg").symlink_to(tmp_path / "real" / "a.jpg")
        (tmp_path / "real" / "up").symlink_to(tmp_path)
        assert sorted_tree(tmp_path, outside=True) == ["real/a.jpg"]

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_a_link_that_leads_out_needs_a_permission(self, tmp_path, kind):
        root, elsewhere = tmp_path / "root", tmp_path / "root-2"
        touch(elsewhere, "a.jpg")
        root.mkdir()
        target, expected = (
            (elsewhere / "a.jpg", "x.jpg") if kind == "file" else (elsewhere, "x.jpg/a.jpg")
        )
        (root / "x.jpg").symlink_to(target)
        with pytest.raises(UserError, match=r"leads out of .*dataset\.outside=true"):
            sorted_tree(root)
        assert sorted_tree(root, outside=True) == [expected]

    def test_links_out_and_back_end(self, tmp_path):
        root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
        touch(elsewhere, "deep/a.jpg")
        touch(root, "b.jpg")
        (root / "out").symlink_to(elsewhere)
        (elsewhere / "circle").symlink_to(elsewhere)
        (elsewhere / "deep" / "up").symlink_to(elsewhere)
        (elsewhere / "back").symlink_to(root)
        assert sorted_tree(root, outside=True) == ["b.jpg", "out/deep/a.jpg"]

    def test_the_root_itself_may_be_a_link(self, tmp_path):
        touch(tmp_path / "real", "a.jpg")
        (tmp_path / "root").symlink_to(tmp_path / "real")
        assert sorted_tree(tmp_path / "root") == ["a.jpg"]

    def test_a_broken_link_is_for_the_reader_to_report(self, tmp_path):
        (tmp_path / "a.jpg").symlink_to(tmp_path / "nothing")
        (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
        (tmp_path / "other.txt").symlink_to(tmp_path / "nothing")
        paths = [tmp_path / name for name in sorted_tree(tmp_path)]
        assert [path.name for path in paths] == ["a.jpg", "loop.png"]
        assert len(ImageStore(paths, 8, 8).preload()) == 2

    def test_pipes_and_folders_named_like_images_are_no_images(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.jpg")
        touch(tmp_path, "folder.jpg/a.png")
        assert sorted_tree(tmp_path) == ["folder.jpg/a.png"]

    def test_names_that_are_not_utf8_are_refused(self, tmp_path):
        (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
        with pytest.raises(UserError, match=r"caf\\xe9\.jpg' is not UTF-8; rename it"):
            sorted_tree(tmp_path)


def save_as(path, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 16)).save(path, format=kind)


class TestOtherKinds:
    """Images that the readers leave out for their suffix are counted, and named in one line."""

    @pytest.fixture
    def crops(self, tmp_path):
        root = tmp_path / "crops"
        touch(root, "a.jpg", "notes.txt", "labels.csv")
        (root / "notes.txt").write_text("BM25 is a ranking; P5 is a prime. II* MM")
        save_as(root / "b/one", "JPEG")
        save_as(root / "c.gif", "GIF")
        save_as(root / "d.png.bak", "PNG")
        save_as(root / ".hidden", "PNG")
        return root

    def test_a_tree_says_so_once_at_its_end(self, crops):
        with pytest.warns(UserWarning, match="by the first bytes") as caught:
            assert sorted_tree(crops) == ["a.jpg"]
        (line,) = [str(warning.message) for warning in caught]
        assert line.startswith(
            f"{crops}: 3 files are images by the first bytes (1 GIF, 1 JPEG, 1 PNG) but not by the "
            "suffix, and left out, the first is 'c.gif'; rename those of supported formats (.bmp,"
        )
        assert line.endswith("and convert the others to JPEG or PNG")

    @pytest.mark.parametrize("kind", ["JPEG", "GIF"])
    def test_the_remedy_is_the_one_that_works(self, tmp_path, kind):
        save_as(tmp_path / "x", kind)
        with pytest.warns(UserWarning, match="1 file is an image") as caught:
            sorted_tree(tmp_path)
        line = str(caught[0].message)
        assert ("rename" in line, "convert" in line) == (kind == "JPEG", kind == "GIF")

    def test_what_is_behind_links_is_looked_at_with_permission_alone(self, tmp_path, recwarn):
        save_as(tmp_path / "elsewhere/x", "JPEG")
        touch(tmp_path, "root/a.jpg")
        (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere/x")
        os.mkfifo(tmp_path / "root/pipe")
        assert sorted_tree(tmp_path / "root") == ["a.jpg"]
        assert not recwarn
        with pytest.warns(UserWarning, match="'link'"):
            sorted_tree(tmp_path / "root", outside=True)

    def test_datasets_with_folders_of_their_own_say_so_too(self, tmp_path):
        market = grow(tmp_path / "market", MARKET)
        for folder in ("bounding_box_train", "query"):
            save_as(market / folder / "0001_c1s1_000001_00", "JPEG")
        last = grow(tmp_path / "last", LAST)
        save_as(last / "train/000010/x.gif", "GIF")
        for dataset, line in (
            (known("market1501", market), r"^market1501: 2 files are images .*2 JPEG"),
            (known("last", last), r"^last: 1 file is an image .*1 GIF"),
        ):
            with pytest.warns(UserWarning, match=line) as caught:
                dataset.splits()
            assert len([w for w in caught if re.match(line, str(w.message))]) == 1

    @pytest.mark.parametrize(
        "kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM"]
    )
    def test_kinds_are_known_by_their_first_bytes(self, tmp_path, kind):
        save_as(tmp_path / "x", kind)
        names = {"JPEG2000": "JPEG 2000", "PPM": "PNM"}
        assert kind_of((tmp_path / "x").read_bytes()[:32]) == names.get(kind, kind)

    @pytest.mark.parametrize(
        ("head", "kind"),
        [
            (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
            (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIF"),
            (b"MM\0+\0\x08\0\0", "TIFF"),
            (b"\0\0\0\x18ftypmp42", None),
            (b"", None),
        ],
    )
    def test_kinds_that_not_every_pillow_writes(self, head, kind):
        assert kind_of(head) == kind

    @settings(max_examples=100, deadline=None)
    @given(st.text(alphabet=string.printable, max_size=40))
    def test_text_is_no_image(self, text):
        assert kind_of(text.encode()) in (None, "PNM")


class TestPattern:
    def test_it_is_searched_for_in_the_path_below_the_root(self, market):
        splits = ImageFolder(root=market, pattern=NAMES, test_share=1.0).splits()
        assert splits.camera_names == ("cam1", "cam2")
        assert splits.identity_names == ("a", "b", "c", "d", "e", "f", "solo")
        for records in (splits.train, splits.query, splits.gallery):
            for path, identity, camera in zip(
                relative(market, records), records.identities, records.cameras, strict=True
            ):
                assert splits.camera_names[camera] == path.split("/")[0]
                assert splits.identity_names[identity] == path.split("/")[1].split("_")[0]

    def test_images_that_it_does_not_fit_train_without_labels(self, market):
        touch(market, "cam1/007.jpg", "other/x.png")
        with pytest.warns(UserWarning, match=r"2 of 28 images .* first is 'cam1/007\.jpg'"):
            train = ImageFolder(root=market, pattern=NAMES, test_share=0.0).splits().train
        unknown = relative(market, train.select(np.flatnonzero(train.identities == -1)))
        assert unknown == ["cam1/007.jpg", "other/x.png"]
        assert (train.cameras == -1).sum() == 2

    def test_a_group_that_takes_no_part_is_unknown(self):
        labels = PathPattern(r"(?P<camera>c\d)?/(?P<identity>\w*)\.").labels("x/.jpg")
        assert labels == ImageLabels("x/.jpg")

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            (r"cam\d+", r"named groups .*camera, identity, split, .*got none"),
            (r"(?P<cam>\d+)", "got cam"),
            (r"(?P<camera>\d+", "must be a regular expression"),
            (r"(?P<camera>.{1,99999999999999999999})", "must be a regular expression"),
        ],
    )
    def test_other_patterns_are_refused(self, tmp_path, pattern, message):
        with pytest.raises(ValueError, match=message):
            ImageFolder(root=tmp_path, pattern=pattern)

    def test_a_pattern_that_fits_nothing_is_refused_with_an_example(self, market):
        with pytest.raises(UserError, match=r"matches none of the 26 images .* 'cam1/a_0\.jpg'"):
            ImageFolder(root=market, pattern=r"(?P<camera>kamera\d+)").splits()

    def test_a_group_may_tell_the_split(self, tmp_path):
        touch(tmp_path, "Train/a_1.jpg", "query/b_1.jpg", "gallery/b_2.jpg", "gallery/c_2.jpg")
        pattern = r"(?P<split>\w+)/(?P<identity>\w)_(?P<camera>\d)"
        splits = ImageFolder(root=tmp_path, pattern=pattern).splits()
        assert relative(tmp_path, splits.query) == ["query/b_1.jpg"]
        assert relative(tmp_path, splits.gallery) == ["gallery/b_2.jpg", "gallery/c_2.jpg"]
        assert relative(tmp_path, splits.train) == ["Train/a_1.jpg"]

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=30), st.text(alphabet="abc/_.1é\n", max_size=20))
    def test_any_pattern_gives_a_result_or_one_line(self, pattern, path):
        def read():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # re warns of sets that may change their meaning
                return PathPattern(f"(?P<camera>{pattern})").labels(path)

        labels, message = outcome_of(read, ValueError)
        assert len(message.splitlines()) <= 1
        assert labels is None or labels.camera in path


class TestTable:
    @pytest.fixture
    def root(self, tmp_path):
        touch(tmp_path, "root/a.jpg", "root/b/c.png", "root/d e,f.webp", "secret.jpg")
        return tmp_path / "root"

    def test_columns_are_found_by_name_and_rows_sorted_by_path(self, root):
        text = (
            "\ufeffIdentity, note ,PATH,camera\r\n"
            '"7, the tall",x,b/c.png, Nord \r\n'
            "\r\n"
            ",y,a.jpg,\r\n"
            ',z,"d e,f.webp",Süd\r\n'
        )
        assert read_table(table(root, text), root) == [
            ImageLabels("a.jpg"),
            ImageLabels("b/c.png", "Nord", "7, the tall"),
            ImageLabels("d e,f.webp", "Süd"),
        ]

    def test_its_rows_alone_are_the_dataset(self, root):
        splits = ImageFolder(root=root, table=table(root, "path\nb/c.png\n")).splits()
        assert relative(root, splits.train) == ["b/c.png"]
        assert not len(splits.query)
        assert not len(splits.gallery)

    @pytest.mark.parametrize(
        ("text", "line", "message"),
        [
            ("", 1, "no header"),
            ("\n\n", 1, "no header"),
            ("camera,identity\n1,2\n", 1, "no column path.* got 'camera', 'identity'"),
            ("path;camera\na.jpg;1\n", 1, "no column path.*commas.* got 'path;camera'"),
            ("path,camera,camera\na.jpg,1,2\n", 1, "two columns camera"),
            ("path,camera\na.jpg,1\nb/c.png\n", 3, "1 cells, the header has 2"),
            ("path,camera\na.jpg,1,2\n", 2, "3 cells, the header has 2"),
            ("path\na.jpg\n\nb/nothing.png\n", 4, "no file 'b/nothing.png'"),
            ("path\nb\n", 2, "'b' has no image suffix"),
            ("path\na.jpg\n./b/../a.jpg\n", 3, "repeats the file of line 2"),
            ("path,camera\n,1\n", 2, "an empty path"),
            ("path\na\0.jpg\n", 2, r"no path: 'a\\x00.jpg'"),
            (f"path\n{'a' * 5000}.jpg\n", 2, "no file"),
            ("path\n../secret.jpg\n", 2, r"outside .*dataset\.outside=true"),
            ("path\n../root-2/a.jpg\n", 2, "outside"),
            ('path\n"a.jpg\n', 2, "unexpected end of data"),
            ('path\n"a.jpg"x\n', 2, "expected after"),
            (b"path,camera\na.jpg,1\nb/c.png,S\xfcd\n", 3, "not UTF-8 .*; save it as UTF-8"),
            ("path\na.jpg\n".encode("utf-16"), 1, "not UTF-8"),
        ],
    )
    def test_a_mistake_is_one_line_with_file_and_line(self, root, text, line, message):
        file = table(root, text)
        with pytest.raises(UserError, match=message) as caught:
            read_table(file, root)
        assert str(caught.value).startswith(f"'{file}', line {line}: ")
        assert "\n" not in str(caught.value)

    def test_a_table_that_is_not_there_is_named(self, root):
        with pytest.raises(UserError, match=r"dataset\.table=.*none\.csv.*No such file"):
            read_table(root / "none.csv", root)

    def test_paths_outside_the_root_need_a_permission(self, root):
        absolute = root.parent / "secret.jpg"
        (root / "link.jpg").symlink_to(absolute)
        for path in ("../secret.jpg", str(absolute), "link.jpg"):
            file = table(root, f"path\n{path}\n")
            with pytest.raises(UserError, match="lies outside"):
                read_table(file, root)
            train = ImageFolder(root=root, table=file, outside=True).splits().train
            assert train.paths[0].resolve() == absolute
        inside = table(root, f"path\n{root / 'a.jpg'}\n")
        assert ImageFolder(root=root, table=inside).splits().train.paths == (root / "a.jpg",)

    @settings(max_examples=150, deadline=None)
    @given(
        st.one_of(
            st.binary(max_size=80),
            st.text(alphabet='ab,./"\n\r\0;é jpgpathcmersli', max_size=80).map(str.encode),
            st.lists(
                st.tuples(
                    st.sampled_from(["a.jpg", "b/c.png", "b", "../secret.jpg", "", "b/./c.png"]),
                    st.text(max_size=5),
                    st.sampled_from(["", "train", "TEST", " query", "gallery", "x"]),
                ),
                max_size=4,
            ).map(
                lambda rows: ("path,camera,split\n" + "".join(
                    ",".join(row) + "\n" for row in rows
                )).encode("utf-8", "surrogatepass")
            ),
        )
    )  # fmt: skip
    def test_any_bytes_give_a_result_or_one_line(self, tmp_path_factory, content):
        root = tmp_path_factory.getbasetemp() / "fuzz" / "root"
        touch(root, "a.jpg", "b/c.png", "../secret.jpg")
        file = table(root.parent, content, "fuzz.csv")
        images, message = outcome_of(lambda: read_table(file, root), UserError)
        assert len(message.splitlines()) <= 1
        assert not message or re.match(rf"'{re.escape(str(file))}', line \d+: ", message)
        assert all((root / image.path).resolve().is_relative_to(root) for image in images or [])


class TestDivision:
    def test_without_identities_everything_trains(self, market):
        splits = ImageFolder(root=market, pattern=r"(?P<camera>cam\d)/").splits()
        assert len(splits.train) == 26
        assert len(splits.query) == len(splits.gallery) == 0
        assert (splits.train.identities == -1).all()
        assert set(splits.train.cameras.tolist()) == {0, 1}
        assert splits.query.identities.dtype == splits.gallery.cameras.dtype == np.int64

    def test_without_anything_cameras_are_unknown_too(self, market):
        splits = ImageFolder(root=market).splits()
        assert (splits.train.cameras == -1).all()
        assert splits.camera_names == splits.identity_names == ()
        assert relative(market, splits.train) == sorted_tree(market)

    def test_half_of_the_identities_seen_by_two_cameras_are_tested(self, market):
        touch(market, "new/1.jpg")  # nobody known
        with pytest.warns(UserWarning, match="1 of 27"):
            splits = ImageFolder(root=market, pattern=NAMES).splits()
        tested = set(splits.query.identities.tolist())
        assert len(tested) == 3
        assert tested == set(splits.gallery.identities.tolist())
        assert not tested & set(splits.train.identities.tolist())
        solo = splits.identity_names.index("solo")
        assert {solo, -1} < set(splits.train.identities.tolist())
        assert len(splits.query) == 6  # one of each person and camera
        assert len(splits.train) + len(splits.query) + len(splits.gallery) == 27

    def test_the_choice_depends_on_the_names_alone(self):
        names = [f"person {i}" for i in range(40)]
        chosen = choose_identities(names, 0.25)
        assert len(chosen) == 10
        assert choose_identities(names[::-1], 0.25) == chosen
        grown = choose_identities([*names, "one more"], 0.25)
        assert len(set(chosen) & set(grown)) >= 9
        assert choose_identities(names, 0.001) == chosen[:1]
        assert choose_identities(names, 0) == choose_identities([], 0.5) == []

    def test_a_split_column_decides_and_test_is_divided_by_the_rule(self, market):
        rows = ["path,camera,identity,split"]
        rows += [f"cam{c}/a_{i}.jpg,{c},a,test" for c in (1, 2) for i in (0, 1)]
        rows += ["cam1/solo_0.jpg,1,solo,test", "cam2/b_0.jpg,2,b,gallery"]
        rows += ["cam1/c_0.jpg,1,c,", "cam2/c_0.jpg,2,c,", "cam1/d_0.jpg,,,gallery"]
        file = table(market, "\n".join(rows))
        splits = ImageFolder(root=market, table=file).splits()
        assert relative(market, splits.train) == ["cam1/c_0.jpg", "cam2/c_0.jpg"]
        assert relative(market, splits.query) == ["cam1/a_0.jpg", "cam2/a_0.jpg"]
        gallery = dict(
            zip(relative(market, splits.gallery), splits.gallery.identities, strict=True)
        )
        assert gallery["cam1/d_0.jpg"] == -1
        assert set(gallery) == {
            "cam1/a_1.jpg", "cam2/a_1.jpg", "cam1/solo_0.jpg", "cam2/b_0.jpg", "cam1/d_0.jpg",
        }  # fmt: skip

    def test_an_identity_in_training_and_test_is_warned_of(self, market):
        rows = "cam1/a_0.jpg,1,a,query\ncam2/a_0.jpg,2,a,gallery\ncam1/a_1.jpg,1,a,train\n"
        file = table(market, f"path,camera,identity,split\n{rows}")
        with pytest.warns(UserWarning, match="1 identities .* training and in the test .* 'a'"):
            splits = ImageFolder(root=market, table=file).splits()
        assert splits.train.identities[0] == splits.query.identities[0]

    @pytest.mark.parametrize(
        "rows",
        [
            "cam1/a_0.jpg,1,a,query\ncam1/a_1.jpg,1,a,gallery\n",
            "cam1/a_0.jpg,1,,query\ncam2/a_1.jpg,2,,gallery\n",
            "cam1/a_0.jpg,1,a,query\n",
            "cam1/a_0.jpg,1,a,test\ncam1/a_1.jpg,1,a,test\n",
        ],
    )
    def test_a_test_split_without_a_match_is_refused(self, market, rows):
        file = table(market, f"path,camera,identity,split\n{rows}cam1/b_0.jpg,1,b,train\n")
        with pytest.raises(UserError, match="no query has a match"):
            ImageFolder(root=market, table=file).splits()

    def test_without_cameras_an_identity_of_two_images_is_evaluated(self, market):
        splits = ImageFolder(root=market, pattern=r"/(?P<identity>[a-z]+)_", test_share=1).splits()
        assert len(splits.query) == 7
        assert len(splits.train) == 0
        assert (splits.query.cameras == -1).all()

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["", "1", "2", "3"]),
                st.sampled_from(["", "a", "b", "c"]),
                st.sampled_from(["", "", "", "train", "test", "query", "gallery"]),
            ),
            max_size=14,
        ),
        st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    )
    def test_every_query_the_rule_makes_has_a_match(self, labels, share):
        images = [ImageLabels(f"{i:02}.jpg", *row) for i, row in enumerate(labels)]
        splits = assign_splits(images, share)
        assert all(split in ("train", "query", "gallery") for split in splits)
        for image, split in zip(images, splits, strict=True):
            if image.split in ("train", "query", "gallery"):
                assert split == image.split
            if split == "query" and image.split != "query":
                assert any(
                    other.identity == image.identity and other_split == "gallery"
                    and ("" in (other.camera, image.camera) or other.camera != image.camera)
                    for other, other_split in zip(images, splits, strict=True)
                )  # fmt: skip
        if not any(image.split for image in images):
            divided = {i.identity for i, s in zip(images, splits, strict=True) if s != "train"}
            trained = {i.identity for i, s in zip(images, splits, strict=True) if s == "train"}
            assert not divided & trained

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.sampled_from(["", "1", "2", "3"]), max_size=8))
    def test_an_identity_has_a_query_where_one_is_possible(self, cameras):
        queries = choose_queries(cameras)
        assert len({cameras[q] for q in queries}) == len(queries)
        assert all(cameras.index(cameras[q]) == q for q in queries)
        possible = len(cameras) > 1 and (len(set(cameras)) > 1 or "" in cameras)
        assert bool(queries) == possible


class TestSessions:
    """Sessions are excluded in evaluation and are no cameras."""

    ROWS = "path,identity,session\n" + "".join(
        f"{name}.jpg,{name[0]},{day}\n"
        for name, day in [("a0", "mon"), ("a1", "tue"), ("b0", "mon"), ("b1", "mon"), ("c0", "")]
    )

    def dataset(self, tmp_path, text, **settings):
        for name in ("a0", "a1", "b0", "b1", "c0"):
            (tmp_path / f"{name}.jpg").touch()
        return ImageFolder(root=tmp_path, table=table(tmp_path, text), **settings)

    def test_a_column_of_a_table_is_numbered_by_name(self, tmp_path):
        splits = self.dataset(tmp_path, self.ROWS, test_share=1).splits()
        assert splits.column_names == {"session": ("mon", "tue")}
        assert relative(tmp_path, splits.query) == ["a0.jpg"]
        assert splits.query.column("session").tolist() == [0]
        # b was seen in one session only, so it cannot be evaluated
        assert relative(tmp_path, splits.train) == ["b0.jpg", "b1.jpg", "c0.jpg"]
        assert splits.train.column("session").tolist() == [0, 0, UNKNOWN]
        assert set(splits.train.cameras) == {UNKNOWN}

    @pytest.mark.parametrize(
        ("head", "labels", "protocol"),
        [
            ("path,identity", "a", "leave_one_out"),
            ("path,identity,split", "a,test", "leave_one_out"),
            ("path,identity,camera", "a,{}", "market1501"),
            ("path,identity,split", "a,{split}", "market1501"),
        ],
    )
    def test_without_cameras_every_image_is_a_query(self, tmp_path, head, labels, protocol):
        rows = [
            f"{name}.jpg,{labels.format(i, split=['query', 'gallery'][i])}"
            for i, name in enumerate(["a0", "a1"])
        ]
        text = "\n".join([head, *rows, ""])
        assert self.dataset(tmp_path, text, test_share=1).splits().protocol == protocol

    def test_a_group_of_a_pattern(self, tmp_path):
        (tmp_path / "mon").mkdir()
        (tmp_path / "mon/a0.jpg").touch()
        (tmp_path / "a1.jpg").touch()
        pattern = r"(?P<session>\w+/)?(?P<identity>\w)\d"
        splits = ImageFolder(root=tmp_path, pattern=pattern, test_share=0).splits()
        assert splits.train.column("session").tolist() == [UNKNOWN, 0]

    def test_unknown_sessions_follow_the_rules_of_labels(self, tmp_path):
        with pytest.warns(UserWarning, match="session 'mon' of 3 images"):
            splits = self.dataset(tmp_path, self.ROWS, test_share=1, unknown=["mon"]).splits()
        assert relative(tmp_path, splits.query) == ["a0.jpg", "b0.jpg"]

    def test_a_test_split_within_one_session_is_refused(self, tmp_path):
        text = "path,identity,session,split\na0.jpg,a,mon,query\na1.jpg,a,{},gallery\n"
        with pytest.raises(UserError, match=r"no query has a match .* in another session"):
            self.dataset(tmp_path, text.format("mon")).splits()
        assert len(self.dataset(tmp_path, text.format("tue")).splits().query) == 1

    @pytest.mark.parametrize(("images", "warned"), [(9, True), (10, False)])
    def test_small_cameras_may_be_sessions(self, tmp_path, images, warned):
        for i in range(2 * images):
            (tmp_path / f"{i % 2}_{i}.jpg").touch()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ImageFolder(root=tmp_path, pattern=r"(?P<camera>\d)_").splits()
            text = [str(warning.message) for warning in caught]
            advised = ImageFolder(root=tmp_path, pattern=r"(?P<session>\d)_").splits()
        assert [line.partition(",")[0] for line in text] == (
            ["folder: cameras have 9.0 images on average (2 cameras)"] if warned else []
        )
        assert len(caught) == len(text)
        assert set(advised.train.cameras) == {UNKNOWN}

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(*[st.sampled_from(["", "1", "2"])] * 2), max_size=6))
    def test_every_query_has_a_match_in_another_session(self, views):
        queries = choose_queries(*map(list, zip(*views, strict=True))) if views else []
        for query in queries:
            assert any(
                all(
                    not ours or ours != theirs
                    for ours, theirs in zip(views[query], view, strict=True)
                )
                for place, view in enumerate(views)
                if place not in queries
            )


class TestRules:
    """Words for unknown ones, junk, distractors and names of splits."""

    def said(self, images, **rules):
        """The labels that are left, and what was said of them."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kept = LabelRules(**rules).applied("own", [ImageLabels(*image) for image in images])
        return [tuple(image)[:4] for image in kept], [str(warning.message) for warning in caught]

    def test_words_for_nobody_are_empty_cells_and_counted(self):
        words = ["unknown", " NaN", "None", "n/a", "?", "-1", "NULL", "<NA>", "", "Unidentified"]
        images = [(f"{i}.png", "2", word, "") for i, word in enumerate([*words, "unknown"])]
        images.append(("x.png", "N/A", "anna", "-"))
        kept, lines = self.said(images)
        assert [image[2] for image in kept] == [""] * 11 + ["anna"]
        assert kept[-1] == ("x.png", "", "anna", "")
        (line,) = lines
        assert line.startswith("own: treated as unknown: identity 'unknown' of 2 images, ")
        assert "identity 'NaN' of 1 image," in line
        assert line.endswith(f" more; {REMEDY}")

    def test_the_words_are_one_setting(self):
        images = [("a.png", "c", "unknown", ""), ("b.png", "Nobody", "x", "")]
        assert self.said(images, unknown=["nobody"]) == (
            [("a.png", "c", "unknown", ""), ("b.png", "", "x", "")],
            [
                f"own: treated as unknown: camera 'Nobody' of 1 image; {REMEDY}",
                "own: treated as names, although they sound unknown: identity 'unknown' of 1 "
                "image; dataset=folder dataset.unknown=[WORDS] sets unknown words",
            ],
        )
        for nothing in (None, []):
            kept, lines = self.said(images, unknown=nothing)
            assert [tuple(image) for image in kept] == images
            assert lines == []

    @pytest.mark.parametrize(
        "word",
        ["unk", "Undetermined", "N.A.", "#N/A N/A", "-nan", "1.#IND", "???", "No_ID", "____", "--"],
    )
    def test_other_words_of_other_tools_are_empty_cells_too(self, word):
        kept, (line,) = self.said([("a.png", "1", word, "")])
        assert kept == [("a.png", "1", "", "")]
        assert line == f"own: treated as unknown: identity {word!r} of 1 image; {REMEDY}"

    @pytest.mark.parametrize("name", ["Unknown_01", "-99", "no id", "missing", "NaT", "-?-"])
    def test_names_that_sound_unknown_are_kept_and_said(self, name):
        kept, (line,) = self.said([("a.png", "1", name, ""), ("b.png", "2", "anna-1", "")])
        assert [image[2] for image in kept] == [name, "anna-1"]
        assert f"although they sound unknown: identity {name!r} of 1 image" in line

    @pytest.mark.parametrize("name", ["Anna", "Nathan", "trunk", "0001", "cam-1", "😀", "李"])
    def test_names_like_any_other_are_not_doubted(self, name):
        assert self.said([("a.png", name, name, "")]) == ([("a.png", name, name, "")], [])

    @pytest.mark.parametrize("word", ["unknown", "nan", "None", "n/a", "?", "-1"])
    def test_the_division_is_that_of_empty_cells(self, market, word):
        def divided(label):
            rows = [
                f"{path},{path[:4]},{'' if n % 3 == 0 and label == '' else name}\n"
                for n, path in enumerate(sorted_tree(market))
                for name in [label if n % 3 == 0 else path.split("/")[1][0]]
            ]
            file = table(market, "path,camera,identity\n" + "".join(rows))
            splits = ImageFolder(root=market, table=file).splits()
            return [relative(market, r) for r in (splits.train, splits.query, splits.gallery)]

        plain = divided("")
        with pytest.warns(UserWarning, match=re.escape(f"identity '{word}' of 9 images")):
            assert divided(word) == plain

    def test_groups_of_a_pattern_and_folders_are_cleaned_too(self, tmp_path):
        touch(tmp_path, *(f"{who}/{c}_0.jpg" for who in ("Unknown", "anna ", "NaN") for c in "12"))
        folder = ImageFolder(root=tmp_path, pattern=r"(?P<identity>[^/]+)/(?P<camera>\d)")
        with pytest.warns(UserWarning, match="identity 'NaN' of 2 .*identity 'Unknown' of 2"):
            splits = folder.splits()
        assert splits.identity_names == ("anna",)

    def test_names_that_differ_in_case_alone_get_a_line(self):
        images = [("1", "Left_Face", "a", ""), ("2", "left_face", "A", ""), ("3", "b", "b", "")]
        kept, lines = self.said(images)
        assert kept == images
        assert lines == [
            "own: cameras that differ in case only are treated as different: 'Left_Face' and "
            "'left_face'; use one spelling if they are the same",
            "own: identities that differ in case only are treated as different: 'A' and 'a'; "
            "use one spelling if they are the same",
        ]

    def test_junk_is_left_out_of_the_test_and_trains_without_identity(self):
        images = [(f"{split}.png", "1", "00-1", split) for split in ("", "train", "query", "test")]
        kept, lines = self.said([*images, ("x.png", "1", "0001", "gallery")])
        assert kept == [
            (".png", "1", "", ""), ("train.png", "1", "", "train"),
            ("x.png", "1", "0001", "gallery"),
        ]  # fmt: skip
        assert lines == [
            "own: left out of query and gallery as junk: '00-1' of 2 images; dataset.junk sets "
            "these identities"
        ]
        kept, lines = self.said(images, junk=[])
        assert [tuple(image) for image in kept] == images
        assert lines == []

    def test_distractors_are_searched_and_search_for_nothing(self):
        images = [(f"{split}.png", "1", "0000", split) for split in ("train", "query", "gallery")]
        kept, lines = self.said(images)
        assert [image[2:] for image in kept] == [("", "train"), ("", "gallery"), ("", "gallery")]
        assert lines == [
            "own: treated as distractors, which match no query: '0000' of 3 images; "
            "dataset.distractors sets these identities, [] for none"
        ]
        assert self.said(images, distractors=[]) == (images, [])
        kept, _ = self.said([("a", "1", "7", "query")], distractors=7)
        assert kept == [("a", "1", "", "gallery")]

    MARKET_TREE = (
        "bounding_box_train/0001_c1_1.jpg", "bounding_box_train/0001_c2_1.jpg",
        "query/0002_c1_1.jpg", "bounding_box_test/0002_c1_2.jpg",
        "bounding_box_test/0002_c2_1.jpg", "bounding_box_test/0000_c1_9.jpg",
        "bounding_box_test/0000_c2_9.jpg", "bounding_box_test/-1_c1_7.jpg",
    )  # fmt: skip

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_test_is_the_gallery_where_there_are_queries(self, tmp_path):
        touch(tmp_path, *self.MARKET_TREE)
        label = r"/(?P<identity>-?\d+)_c(?P<camera>\d)"
        found = [
            ImageFolder(root=tmp_path, pattern=pattern + label, splits=names).splits()
            for pattern, names in (
                (r"(?P<split>train|query|test)", None),
                (
                    r"(?P<split>\w+)",
                    {"train": "bounding_box_train", "gallery": ["test", "bounding_box_test"]},
                ),
            )
        ]
        for splits in found:
            assert relative(tmp_path, splits.train) == sorted(self.MARKET_TREE[:2])
            assert relative(tmp_path, splits.query) == ["query/0002_c1_1.jpg"]
            assert relative(tmp_path, splits.gallery) == sorted(self.MARKET_TREE[3:7])
            assert (splits.gallery.identities == -1).sum() == 2
        file = table(
            tmp_path,
            "path,camera,identity,split\nquery/0002_c1_1.jpg,1,2,query\n"
            "bounding_box_test/0002_c2_1.jpg,2,2,TEST\nbounding_box_test/0002_c1_2.jpg,1,2,test\n",
        )
        assert len(ImageFolder(root=tmp_path, table=file).splits().query) == 1

    def test_without_queries_test_is_divided(self):
        images = [ImageLabels(f"{c}{i}", c, "a", "test") for c in "12" for i in range(2)]
        assert assign_splits(images, 0.5) == ["query", "gallery", "query", "gallery"]

    def test_splits_without_a_meaning_are_one_line_whose_advice_works(self, tmp_path):
        touch(tmp_path, *(f"{split}/{i}.jpg" for split in ("Val", "holdout", "my train")
                          for i in range(2)), "train/0.jpg")  # fmt: skip
        pattern = r"^(?P<split>[^/]+)/"
        with pytest.raises(UserError) as caught:
            ImageFolder(root=tmp_path, pattern=pattern).splits()
        assert str(caught.value) == (
            "folder: unknown splits: 'Val' of 2 images, 'holdout' of 2 images, "
            "'my train' of 2 images; map them to some of train, query, gallery, test, ignore, for "
            """example 'dataset.splits={ignore: [holdout, val], train: ["my train"]}'"""
        )
        names = {"ignore": ["holdout", "val"], "train": ["my train"]}
        splits = ImageFolder(root=tmp_path, pattern=pattern, splits=names).splits()
        assert relative(tmp_path, splits.train) == [
            "my train/0.jpg", "my train/1.jpg", "train/0.jpg",
        ]  # fmt: skip
        ignored = ImageFolder(root=tmp_path, pattern=r"(?P<split>\d)", splits={"ignore": [0, 1]})
        with pytest.raises(UserError, match=r"all images in .* are junk or of ignored splits"):
            ignored.splits()

    def test_empty_groups_and_words_for_nothing_are_no_split(self):
        images = [("a", "1", "x", ""), ("b", "2", "x", "NaN")]
        kept, _ = self.said(images)
        assert [image[3] for image in kept] == ["", ""]
        kept, lines = self.said(images, splits={"gallery": "nan"})
        assert [image[3] for image in kept] == ["", "gallery"]
        assert lines == []

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            ({"splits": {"valid": ["a"]}}, r"splits must map to some of train, .*, got 'valid'"),
            ({"splits": {"train": ["a"], "test": ["A "]}}, "splits must map 'a' to one split"),
            ({"splits": ["a"]}, r"splits must be \{train: \[NAME\], ...\}"),
            ({"unknown": {"a": 1}}, "unknown must be a word"),
            ({"junk": [None]}, "junk must be a word"),
        ],
    )
    def test_rules_are_checked(self, tmp_path, rules, message):
        with pytest.raises((ValueError, TypeError), match=message):
            ImageFolder(root=tmp_path, **rules)

    def test_the_settings_are_those_of_the_code_and_take_what_the_advice_says(self, command):
        plain = command("--cfg", "job", "dataset=folder", "dataset.root=x")
        dataset = yaml.safe_load(plain.out)["dataset"]
        assert tuple(dataset["unknown"]) == UNKNOWN_WORDS
        assert (tuple(dataset["junk"]), tuple(dataset["distractors"])) == (JUNK, DISTRACTORS)
        own = command(
            "--cfg", "job", "dataset=folder", "dataset.root=x", "dataset.junk=[-1]",
            'dataset.splits={ignore: [holdout, val], train: ["my train"]}',
        )  # fmt: skip
        dataset = yaml.safe_load(own.out)["dataset"]
        assert dataset["splits"] == {"ignore": ["holdout", "val"], "train": ["my train"]}
        assert LabelRules(junk=dataset["junk"]).junk == {"-1"}
        assert "???" not in dataset["unknown"]  # OmegaConf takes it for a value that is missing


class TestFolder:
    def test_no_root_is_named(self):
        with pytest.raises(UserError, match=r"dataset\.root=PATH"):
            ImageFolder(root=None)

    def test_a_root_that_is_none_is_refused(self, tmp_path):
        with pytest.raises(UserError, match=r"is no folder; set dataset\.root"):
            ImageFolder(root=tmp_path / "x").splits()
        touch(tmp_path, "crops.zip")
        with pytest.raises(UserError, match="is a file, not a folder; unpack it first"):
            ImageFolder(root=tmp_path / "crops.zip").splits()

    def test_no_images_is_refused(self, tmp_path):
        touch(tmp_path, "notes.txt")
        with pytest.raises(UserError, match=r"no images \(\.bmp, .*\) in "):
            ImageFolder(root=tmp_path, pattern=NAMES).splits()
        with pytest.raises(UserError, match=r"no images .* in the table"):
            ImageFolder(root=tmp_path, table=table(tmp_path, "path\n")).splits()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"pattern": NAMES, "table": "x.csv"}, "must not both"),
            ({"test_share": 1.5}, "test_share must be in"),
            ({"outside": "yes"}, "outside must be true or false"),
            ({"pattern": 3}, "pattern must be a string"),
        ],
    )
    def test_arguments_are_checked(self, tmp_path, arguments, message):
        with pytest.raises((ValueError, TypeError), match=message):
            ImageFolder(root=tmp_path, **arguments)

    def test_two_readings_agree_whatever_the_order_of_the_listing(self, market, monkeypatch):
        first = ImageFolder(root=market, pattern=NAMES).splits()
        real = os.scandir

        class Backwards(list):
            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

        monkeypatch.setattr(os, "scandir", lambda path: Backwards(list(real(path))[::-1]))
        again = ImageFolder(root=market, pattern=NAMES).splits()
        assert again.train.paths == first.train.paths
        assert again.query.paths == first.query.paths

    @pytest.mark.parametrize(
        "names", [string.ascii_lowercase, ["ü", "名", "a b", "-2", "\U0001f600"]]
    )
    def test_names_are_any_strings_numbered_in_sorted_order(self, tmp_path, names):
        touch(tmp_path, *(f"{name}/{i}.png" for name in names for i in (0, 1)))
        splits = ImageFolder(root=tmp_path, pattern=r"^(?P<identity>[^/]+)/", test_share=0).splits()
        assert splits.identity_names == tuple(sorted(names))
        assert [splits.identity_names[i] for i in splits.train.identities] == [
            path.parent.name for path in splits.train.paths
        ]

    def test_the_setting_composes_and_is_checked_on_the_command_line(self, command, tmp_path):
        outcome = command("dataset=folder", "model.weights=null", "trainer=cpu", "output=o")
        assert (outcome.code, outcome.err) == (
            2, "error: dataset.root=PATH is needed: the folder of the images\n",
        )  # fmt: skip
        touch(tmp_path, "crops/cam1/a_0.jpg")
        outcome = command(
            "dataset=folder", f"dataset.root={tmp_path / 'crops'}", "model.weights=null",
            r'dataset.pattern="(?P<camera>cam\d+)/(?P<person>\w+)"', "trainer=cpu", "output=p",
        )  # fmt: skip
        assert outcome.code == 2
        assert "error: dataset.pattern must have named groups" in outcome.err
        assert "camera, person" in outcome.err
        assert not Path("p").exists()


class TestJoinedLabels:
    """Labels of several groups, and labels beside camera and identity."""

    PATTERN = r"P(?P<P>\d+)T(?P<T>\d+)A(?P<A>\d)/.*C(?P<camera>\d)F(?P<frame>\d+)_(?P<outfit>\w)\."
    FILES = (
        "P0001T0404A0/P0001T0404A0C0F31_r.tif", "P0001T0404A0/P0001T0404A0C3F7_r.tif",
        "P0001T0505A0/P0001T0505A0C0F9_b.tif", "P0001T0505A0/P0001T0505A0C3F10_r.tif",
    )  # fmt: skip

    def test_groups_are_joined(self, tmp_path):
        touch(tmp_path, *self.FILES)
        splits = ImageFolder(
            root=tmp_path, pattern=self.PATTERN, identity="{P}{T}{A}",
            clothes="{T}-{outfit}", tracklet="t", modality="rgb", test_share=0,
        ).splits()  # fmt: skip
        assert splits.identity_names == ("000104040", "000105050")
        assert splits.train.identities.tolist() == [0, 0, 1, 1]
        assert splits.camera_names == ("0", "3")
        assert splits.column_names["clothes"] == ("0404-r", "0505-b", "0505-r")
        assert splits.train.column("clothes").tolist() == [0, 0, 1, 2]
        assert splits.train.column("frame").tolist() == [31, 7, 9, 10]
        assert splits.column_names["modality"] == ("rgb",)

    def test_columns_of_a_table_are_joined(self, tmp_path):
        touch(tmp_path, "a.tiff", "b.tiff")
        file = table(tmp_path, "path,Person,day,clothes\na.tiff,7,mon,x\nb.tiff,7,tue,\n")
        splits = ImageFolder(root=tmp_path, table=file, identity="{person}@{day}").splits()
        assert splits.identity_names == ("7@mon", "7@tue")
        assert splits.train.column("clothes").tolist() == [0, UNKNOWN]
        assert [path.suffix for path in splits.train.paths] == [".tiff", ".tiff"]
        with pytest.raises(UserError, match=r"labels.csv': dataset.identity must name groups"):
            ImageFolder(root=tmp_path, table=file, identity="{nobody}").splits()

    def test_other_templates_are_refused(self, tmp_path):
        for labels, message in (
            ({"identity": "{X}"}, "identity must name groups in braces, some of P, T, A"),
            ({"identity": "{P}{T}"}, "named groups .* got P, T, A"),
            ({"person": "{P}"}, "labels are camera, identity, .* got person"),
        ):
            with pytest.raises(ValueError, match=message):
                ImageFolder(root=tmp_path, pattern=self.PATTERN, **labels)
        with pytest.raises(ValueError, match="clothes needs a pattern or a table"):
            ImageFolder(root=tmp_path, clothes="red")
