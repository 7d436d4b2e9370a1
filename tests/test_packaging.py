"""Wheel and source distribution are complete, and run in an environment of their own."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from conftest import MadeOnce
from documents import snippets
from test_docs_commands import grow_crops

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NO_INDEX = 2
"""Exit status of uv without an index."""

GIVEN = """
from pathlib import Path
import numpy as np
paths = sorted(Path("people").rglob("*.jpg"))
embeddings = np.random.default_rng(0).normal(size=(80, 16)).repeat(2, axis=0)
"""
SHOWN = """
import dccc_lightning
print(dccc_lightning.__file__)
print(*labels)
"""


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """List what git knows of this tree."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def dist(made_once: MadeOnce, tracked: list[str]) -> Path:
    """Build both from a copy of this tree, the wheel from the source distribution."""

    def fill(folder: Path) -> None:
        for name in tracked:
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "tree" / name)
        build = ["build", "--no-isolation", "--outdir", str(folder), "."]
        subprocess.run(
            [sys.executable, "-m", *build], cwd=folder / "tree", check=True, capture_output=True
        )

    return made_once("dist", fill)


@pytest.fixture(scope="module")
def wheel_folder(made_once: MadeOnce, dist: Path) -> Path:
    """Unpack the wheel."""

    def fill(folder: Path) -> None:
        (wheel,) = dist.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)

    return made_once("wheel", fill)


def test_the_source_distribution_is_the_repository(dist: Path, tracked: list[str]) -> None:
    (source,) = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        members = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    made = {"PKG-INFO", "setup.cfg"}
    assert {name for name in members - made if ".egg-info/" not in name} == {
        name for name in tracked if not name.startswith(".")
    }


@pytest.fixture(scope="module")
def empty_environment(made_once: MadeOnce, dist: Path) -> Path:
    """Make an environment that holds the wheel, what it depends on, and nothing else."""
    uv = [sys.executable, "-m", "uv"]

    def fill(folder: Path) -> None:
        subprocess.run([*uv, "venv", "--python", sys.executable, str(folder)], check=True)
        (wheel,) = dist.glob("*.whl")
        install = [*uv, "pip", "install", "--quiet", "--python", str(folder), str(wheel)]
        try:
            subprocess.run([*install, "--constraint", str(ROOT / "constraints.txt")], check=True)
        except subprocess.CalledProcessError as error:
            if error.returncode != NO_INDEX:
                raise
            (folder / "bin" / "python").unlink()

    folder = made_once("empty_environment", fill)
    if not (folder / "bin" / "python").exists():
        pytest.skip("no index for what the package depends on")
    return folder


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_the_readme_runs_in_an_empty_environment(
    kind: str, dist: Path, empty_environment: Path, tmp_path: Path
) -> None:
    (file,) = dist.glob(kind)
    target = ["--python", str(empty_environment), "--quiet"]
    uv = [sys.executable, "-m", "uv", "pip"]
    again = ["--no-deps", "--reinstall-package", "dccc-lightning", str(file)]
    subprocess.run([*uv, "install", *target, *again], check=True)
    subprocess.run([*uv, "check", *target], check=True)
    grow_crops(tmp_path / "people")
    code = "".join([GIVEN, *snippets("README.md"), SHOWN])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def call(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(empty_environment / "bin" / program), *arguments], cwd=tmp_path,
            env=environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    *hits, home, labels = call("python", "-c", code).splitlines()
    assert len(hits) == 5
    assert hits[0].startswith("1.000 people/")
    assert Path(home).is_relative_to(empty_environment)
    assert set(labels.split()) - {"-1"}
    assert (Path(home).parent / "conf" / "train.yaml").is_file()
    assert call("dccc-lightning", "--version").startswith("dccc-lightning ")


def test_the_wheel_holds_every_file(wheel_folder: Path) -> None:
    package = wheel_folder / "dccc_lightning"
    for kind, home in (("*.py", ROOT / "src" / "dccc_lightning"), ("*.yaml", ROOT / "conf")):
        target = package if kind == "*.py" else package / "conf"
        missing = [p for p in home.rglob(kind) if not (target / p.relative_to(home)).exists()]
        assert missing == []
    templates = "reports/templates"
    for path in (ROOT / "src" / "dccc_lightning" / templates).iterdir():
        assert (package / templates / path.name).exists()
    assert (package / "py.typed").exists()
    assert (package / "weights" / "resnet10_synthetic.pt").exists()


def test_the_wheel_runs_from_any_folder(
    wheel_folder: Path, tiny: list[str], tmp_path: Path
) -> None:
    environment = os.environ | {"PYTHONPATH": str(wheel_folder), "PYTHONPROFILEIMPORTTIME": "1"}
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "short.yaml").write_text(
        "# @package _global_\nepochs: 1\niterations: 1\n"
    )
    arguments = [a for a in tiny if not a.startswith(("epochs", "iterations"))]

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        outcome = subprocess.run(
            [sys.executable, "-m", "dccc_lightning", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert outcome.returncode == 0, outcome.stderr
        imported = {line.rpartition("|")[2].strip() for line in outcome.stderr.splitlines()}
        assert "dccc_lightning.cli" in imported
        assert imported.isdisjoint({"wandb", "tensorboard"})
        return outcome

    own = ["--config-dir", "mine", "experiment=short"]
    outcome = call(*own, "output=run", *arguments)
    assert outcome.stdout.splitlines()[-1] == f"outputs: {tmp_path / 'run'}"
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 3
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"--config-dir {tmp_path / 'mine'} experiment=short" in page
    call("resume=run", "epochs=2")
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 4
    call("-m", *own, *arguments, "hydra/launcher=local", "hydra.sweep.dir=sweep")
    assert (tmp_path / "sweep" / "0" / "results.json").exists()
