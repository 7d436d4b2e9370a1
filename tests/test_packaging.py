"""The wheel is complete: configuration, weights and types travel in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheel of this tree, built from a copy, so that no build folder is left behind."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in sources:
        if name.startswith(("src/", "conf/")) or "/" not in name:
            target = folder / "tree" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), "."],
        cwd=folder / "tree", check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_every_file(wheel_folder: Path) -> None:
    package = wheel_folder / "dccc_lightning"
    for kind, home in (("*.py", ROOT / "src" / "dccc_lightning"), ("*.yaml", ROOT / "conf")):
        target = package if kind == "*.py" else package / "conf"
        missing = [p for p in home.rglob(kind) if not (target / p.relative_to(home)).exists()]
        assert missing == []
    assert (package / "py.typed").exists()
    assert (package / "weights" / "resnet10_synthetic.pt").exists()


def test_the_wheel_runs_from_any_folder(
    wheel_folder: Path, tiny: list[str], tmp_path: Path
) -> None:
    environment = os.environ | {"PYTHONPATH": str(wheel_folder)}
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
