"""The wheel is complete: configuration, weights and types travel in it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import MadeOnce

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel_folder(made_once: MadeOnce) -> Path:
    """Unpack the wheel of this tree, built from a copy, so that no build folder is left behind."""

    def fill(folder: Path) -> None:
        left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for name in ("src", "conf"):
            shutil.copytree(ROOT / name, folder / "tree" / name, ignore=left_out)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder / "tree")
        build = ["build", "--wheel", "--no-isolation", "--outdir", str(folder), "."]
        subprocess.run(
            [sys.executable, "-m", *build], cwd=folder / "tree", check=True, capture_output=True
        )
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "site")

    return made_once("wheel", fill) / "site"


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
