import os
import shutil
from pathlib import Path

import pytest

from environment import SLURM, own_environment, without_slurm


def program(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_neither_a_job_nor_an_account_reaches_the_tests(tmp_path):
    given = {
        "SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_JOB_ID": "17", "LOCAL_RANK": "1",
        "RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "node1", "TORCHELASTIC_RUN_ID": "x",
        "WANDB_API_KEY": "secret", "HYDRA_FULL_ERROR": "0", "DCCC_CACHE": "/data",
        "OMP_NUM_THREADS": "16", "CI": "true", "PATH": "/nowhere", "LANG": "C.UTF-8",
        "DCCC_WEIGHTS_DIR": "/weights", "HOME": "/home/me",
    }  # fmt: skip
    own = own_environment(given, tmp_path)
    threads = {name for name in own if name.endswith("_NUM_THREADS")}
    assert {name: own[name] for name in own.keys() - threads} == {
        "HOME": str(tmp_path), "PATH": "/nowhere", "LANG": "C.UTF-8",
        "DCCC_WEIGHTS_DIR": "/weights", "UV_CACHE_DIR": "/home/me/.cache/uv",
    }  # fmt: skip
    assert {own[name] for name in threads} == {"1"}


@pytest.mark.parametrize(
    ("given", "cache"),
    [
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/scratch"}, "/scratch/uv"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/scratch", "UV_CACHE_DIR": "/wheels"}, "/wheels"),
        ({"XDG_CACHE_HOME": ""}, str(Path("~/.cache/uv").expanduser())),
    ],
)
def test_downloads_of_uv_are_not_made_again(given, cache, tmp_path):
    assert own_environment(given, tmp_path)["UV_CACHE_DIR"] == cache


def test_slurm_is_hidden_and_its_neighbours_are_found(tmp_path):
    for command in (*SLURM, "git"):
        program(tmp_path / "bin", command)
    program(tmp_path / "other", "make")
    folders = [tmp_path / "bin", tmp_path / "absent", tmp_path / "other"]
    path = without_slurm(os.pathsep.join(map(str, folders)), tmp_path / "shown")
    assert [command for command in SLURM if shutil.which(command, path=path)] == []
    assert Path(shutil.which("git", path=path)).resolve() == tmp_path / "bin" / "git"
    assert path.split(os.pathsep)[1:] == [str(folder) for folder in folders[1:]]


def test_this_process_has_it():
    assert not [name for name in os.environ if name.startswith(("SLURM_", "WANDB_"))]
    assert shutil.which("sbatch") is None
    assert Path.home().name.startswith("home-of-tests-")


@pytest.mark.parametrize("number", [1, 2])
def test_a_test_leaves_no_variable_behind(number):
    assert "LEFT_BEHIND" not in os.environ
    os.environ["LEFT_BEHIND"] = str(number)
