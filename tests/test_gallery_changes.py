"""A gallery that others change, that is damaged, or whose writer is killed."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from dccc_lightning.common.files import remove_temporaries, replacing, write_atomically
from dccc_lightning.errors import UserError
from dccc_lightning.gallery import storage
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.gallery.manifest import MANIFEST

ROWS = np.random.default_rng(0).standard_normal((120, 8)).astype(np.float32)
UNIT = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)


def build(kind="flat", rows=ROWS):
    paths = [f"{number:03d}.jpg" for number in range(len(rows))]
    return GalleryIndex.build(rows, paths, fingerprint="f" * 16, kind=kind)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original") / "g"
    build("ivf").save(folder)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "g")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def kill_while(act):
    """Let a process begin to write, and kill it."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(1)  # it should have been killed before
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", ".nfs0001", "notes (1).txt"])
def test_a_gallery_without_manifest_is_replaced_beside_other_files(folder, name):
    (folder / MANIFEST).unlink()
    (folder / name).write_text("kept")
    build().save(folder)
    assert len(GalleryIndex.load(folder)) == len(ROWS)
    assert (folder / name).read_text() == "kept"


def test_a_change_by_another_process_is_seen_through_a_link_too(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    ours, theirs = GalleryIndex.load(folder), GalleryIndex.load(link)
    theirs.remove([3])
    theirs.save(folder)
    ours.add(ROWS[:1], ["new.jpg"])
    with pytest.raises(UserError, match="changed by another process since it was read"):
        ours.save(link)
    assert 3 not in GalleryIndex.load(folder).table.ids


class TestReadingWhileOthersWrite:
    @pytest.fixture
    def before_opening(self, monkeypatch):
        """Run an act before chosen openings of a gallery's files."""
        real = Path.open

        def install(is_chosen, act):
            count = iter(range(1000))
            is_acting = []

            def spy(path, mode="r", *arguments, **options):
                if mode == "rb" and not is_acting and is_chosen(next(count)):
                    is_acting.append(True)
                    act()
                    is_acting.clear()
                return real(path, mode, *arguments, **options)

            monkeypatch.setattr(Path, "open", spy)

        return install

    @staticmethod
    def remove_one(folder):
        other = GalleryIndex.load(folder)
        other.remove(other.table.ids[:1])
        other.save(folder)

    @staticmethod
    def check(index, removed):
        """It is what the gallery was after so many removals."""
        assert index.table.ids.tolist() == list(range(removed, 120))
        np.testing.assert_allclose(index.embeddings, UNIT[removed:], atol=1e-6)
        assert index.search(ROWS[[50]], 1)[0][0].path == "050.jpg"

    @pytest.mark.parametrize("at", range(4))  # the manifest and three data files
    def test_one_state_or_the_other_wherever_the_change_comes(self, folder, before_opening, at):
        before_opening(lambda n: n == at, lambda: self.remove_one(folder))
        self.check(GalleryIndex.load(folder), 1)

    def test_a_gallery_that_changes_again_and_again(self, folder, before_opening):
        before_opening(lambda n: n % 2 == 1 and n < 20, lambda: self.remove_one(folder))
        index = GalleryIndex.load(folder)
        self.check(index, 10)

    def test_a_change_that_is_undone(self, folder, before_opening):
        def there_and_back():
            self.remove_one(folder)
            build("ivf").save(folder)  # the manifest is word by word what it was

        before_opening(lambda n: n == 2, there_and_back)
        self.check(GalleryIndex.load(folder), 0)

    def test_a_loaded_gallery_outlives_its_files(self, folder):
        index = GalleryIndex.load(folder)
        shutil.rmtree(folder)
        self.check(index, 0)

    def test_what_is_missing_without_a_change_is_damage(self, folder):
        gone = next(folder.glob("table-*"))
        gone.unlink()
        with pytest.raises(UserError, match=f"damaged, {gone.name} is missing"):
            GalleryIndex.load(folder)


class TestRebuilding:
    @pytest.mark.parametrize("part", ["embeddings", "table", "proposals", MANIFEST])
    @pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
    def test_a_damaged_gallery_is_built_anew_in_its_place(self, folder, part, harm):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        path = next(folder.glob(f"{part}*"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 128
        path.write_bytes(content if harm == "flip" else content[: len(content) // 2])
        if harm == "gone":
            path.unlink()
        with pytest.raises(UserError, match=r"task=index input=.* index=/.*/g replace=true builds"):
            GalleryIndex.load(folder)
        build("ivf").save(folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert GalleryIndex.load(folder).search(ROWS[[7]], 1)[0][0].path == "007.jpg"

    def test_a_failed_rebuild_leaves_what_was_there(self, folder, monkeypatch):
        (folder / MANIFEST).unlink()
        before = names(folder)

        def fail(path, content):
            if path.name.startswith("table"):
                raise OSError(28, "No space left on device")
            write_atomically(path, content)

        monkeypatch.setattr(storage, "write_atomically", fail)
        with pytest.raises(UserError, match="No space left"):
            build(rows=ROWS[:50]).save(folder)
        assert names(folder) == before

    def test_a_strange_index_json_is_not_replaced(self, tmp_path):
        (tmp_path / MANIFEST).write_text('{"pages": 3}')
        (tmp_path / "page.html").write_text("mine")
        with pytest.raises(UserError, match="exists and is no gallery"):
            build().save(tmp_path)
        assert json.loads((tmp_path / MANIFEST).read_text()) == {"pages": 3}

    def test_notes_beside_a_gallery_stay(self, folder):
        (folder / "README").write_text("mine")
        build().save(folder)
        assert (folder / "README").read_text() == "mine"


class TestKilledWriters:
    @pytest.mark.parametrize("how", ["load", "save"])
    def test_their_temporary_files_are_removed(self, folder, how):
        index = GalleryIndex.load(folder)
        index.remove([3])
        real = os.fsync

        def killed():
            os.fsync = die
            index.save(folder)

        kill_while(killed)
        assert os.fsync is real
        assert any(name.startswith(".embeddings-") for name in names(folder))
        (folder / f".{MANIFEST}.4711").touch()
        if how == "load":
            assert len(GalleryIndex.load(folder)) == 120
        else:
            build("ivf").save(folder)
        assert [name.partition("-")[0] for name in names(folder)] == [
            "embeddings", MANIFEST, "proposals", "table"
        ]  # fmt: skip

    def test_a_removed_person_goes_with_the_next_load(self, folder):
        index = GalleryIndex.load(folder)
        gone = index.embeddings[3].tobytes()
        index.remove([3])

        def killed():
            storage._data_files = die  # the new manifest is there, the old files are too
            index.save(folder)

        kill_while(killed)
        assert len(names(folder)) == 7
        for path in folder.iterdir():  # the clock of a file system may be coarse
            if path.name != MANIFEST:
                os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9))
        assert len(GalleryIndex.load(folder)) == 119
        assert len(names(folder)) == 4
        assert not any(gone in path.read_bytes() for path in folder.iterdir())

    def test_files_of_a_change_that_goes_on_stay(self, folder):
        coming = folder / "table-0123456789abcdef.parquet"
        coming.write_bytes(b"named by the next manifest")
        os.utime(coming, ns=(0, (folder / MANIFEST).stat().st_mtime_ns + 1))
        with replacing(folder / "embeddings-0123456789abcdef.npy") as file:
            file.write(b"being written")
            assert len(GalleryIndex.load(folder)) == 120
            assert len(names(folder)) == 6
        build("ivf").save(folder)
        assert len(names(folder)) == 4

    def test_a_folder_that_may_only_be_read(self, folder, monkeypatch):
        (folder / f".{MANIFEST}.4711").touch()

        def refuse(path, *arguments):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "unlink", refuse)
        assert len(GalleryIndex.load(folder)) == 120

    def test_a_killed_first_build_is_begun_anew(self, tmp_path):
        def killed():
            os.fsync = die
            build().save(tmp_path / "g")

        kill_while(killed)
        assert names(tmp_path) == ["g"]
        with pytest.raises(UserError, match="no gallery there"):
            GalleryIndex.load(tmp_path / "g")
        build().save(tmp_path / "g")
        assert len(names(tmp_path / "g")) == 3


class TestTemporaryFiles:
    def test_those_of_the_killed_go_when_the_file_is_written_again(self, tmp_path):
        path = tmp_path / "a[1].json"
        (tmp_path / ".a1.json.7").touch()

        def killed():
            with replacing(path) as file:
                file.write(b"half")
                die()

        kill_while(killed)
        assert len(names(tmp_path)) == 2
        write_atomically(path, b"whole")
        assert names(tmp_path) == [".a1.json.7", "a[1].json"]
        assert path.read_bytes() == b"whole"

    def test_those_of_the_living_stay(self, tmp_path):
        with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
            one.write(b"first")
            other.write(b"second, which is done before")
            remove_temporaries(tmp_path)
        assert (tmp_path / "a").read_bytes() == b"first"

    def test_an_error_leaves_nothing(self, tmp_path):
        with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a"):
            raise ZeroDivisionError
        assert not names(tmp_path)

    def test_other_hidden_files_are_left_alone(self, tmp_path):
        for name in (".a.b", "a.7", ".7"):
            (tmp_path / name).touch()
        (tmp_path / ".folder.7").mkdir()
        remove_temporaries(tmp_path)
        assert names(tmp_path) == [".7", ".a.b", ".folder.7", "a.7"]

    def test_without_locks_files_are_written_and_none_removed(self, tmp_path, monkeypatch):
        def fail(*_):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr("fcntl.flock", fail)
        (tmp_path / ".a.7").touch()
        write_atomically(tmp_path / "a", b"content")
        assert names(tmp_path) == [".a.7", "a"]
