"""CUDA libraries that are in memory once torch is imported by the command line."""

import glob
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dccc_lightning.common.torch_libraries import load_own_libraries, own_libraries


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with cuBLAS of two versions of CUDA, and cuDNN of one."""
    for name in (
        "cublas/lib/libcublas.so.12",
        "cu13/lib/libcublas.so.13",
        "cudnn/lib/libcudnn.so.9",
    ):
        file = tmp_path / "nvidia" / name
        file.parent.mkdir(parents=True)
        file.touch()
    return tmp_path / "nvidia"


def names(packages: Path, folder: str, file: str) -> list[str]:
    found = glob.glob(str(packages / folder / "lib" / file))  # noqa: PTH207  (as torch does)
    return [Path(path).name for path in found]


@pytest.mark.parametrize(
    ("cuda", "found"),
    [("13.0", []), ("12.6", ["libcublas.so.12"]), (None, ["libcublas.so.12"])],
)
def test_libraries_of_another_cuda_are_hidden(
    cuda: str | None, found: list[str], packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.version", SimpleNamespace(cuda=cuda))
    plain = glob.glob
    with own_libraries():
        assert names(packages, "cublas", "libcublas.so.*[0-9]") == found
        assert names(packages, "cu13", "libcublas.so.*[0-9]") == ["libcublas.so.13"]
        assert names(packages, "cudnn", "libcudnn.so.*[0-9]") == ["libcudnn.so.9"]
    assert glob.glob is plain


def test_imported_torch_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    finders = list(sys.meta_path)
    assert not load_own_libraries()
    assert sys.meta_path == finders


@pytest.mark.slow  # imports torch and faiss
def test_torch_and_faiss_work() -> None:
    code = """
import sys
from dccc_lightning.common.torch_libraries import load_own_libraries
import importlib.util
assert load_own_libraries()
importlib.util.find_spec("torch")  # must not use the finder up
import torch
with open("/proc/self/maps") as file:
    maps = file.read()
mine = torch.version.cuda and torch.version.cuda.partition(".")[0]
print([n for n in (11, 12, 13, 14) if f"libcublas.so.{n}" in maps and str(n) != mine])
import faiss, numpy
index = faiss.IndexFlatL2(8)
index.add(numpy.eye(8, dtype="float32"))
print(index.search(numpy.eye(8, dtype="float32"), 1)[1].ravel().tolist(), len(sys.meta_path))
"""
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[0] == "[]"
    assert printed.splitlines()[1].startswith("[0, 1, 2, 3, 4, 5, 6, 7]")
