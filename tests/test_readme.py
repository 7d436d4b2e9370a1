"""Every command of the README runs, made small."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Command

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = README + (ROOT / "docs" / "running.md").read_text()
COMMANDS = sorted(set(re.findall(r"(?m)^python -m dccc_lightning ?([^\n|`]*)", PAGES))) + sorted(
    set(re.findall(r"`python -m dccc_lightning (dataset=[^`]*)`", PAGES))
)
SMALL = [
    "trainer.devices=1", "trainer=cpu", "image.height=32", "image.width=16", "batch.clusters=4",
    "batch.instances=4", "epochs=1", "iterations=1", "clustering.k1=8",
]  # fmt: skip
SMALL_NETWORK = ["model=resnet10"]


def save(path: Path, identity: int, camera: int, shot: int) -> None:
    """Write a crop whose colour says who it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    color = (identity * 20 % 256, 255 - identity * 17 % 256, 60 + camera * 30 + shot)
    Image.new("RGB", (16, 32), color).save(path)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grow a tiny tree of every real dataset."""
    root = tmp_path_factory.mktemp("data")
    lists: dict[str, list[str]] = {name: [] for name in ("train", "val", "query", "gallery")}
    for identity in range(1, 11):
        for camera in range(1, 4):
            for shot in range(3):
                test = "query" if shot == 0 else "bounding_box_test"
                folder = "bounding_box_train" if identity <= 6 else test
                person, seen = (identity, camera, shot), f"{identity:04d}_c{camera}"
                save(
                    root / "Market-1501-v15.09.15" / folder / f"{seen}s1_{shot:06d}_00.jpg", *person
                )
                save(root / "DukeMTMC-reID" / folder / f"{seen}_f{shot:07d}.jpg", *person)
                half = "train" if identity <= 6 else "test"
                name = f"{identity:04d}/{identity:04d}_{shot:03d}_{camera:02d}_0303noon_0001_0.jpg"
                save(root / "MSMT17_V1" / half / name, *person)
                part = ("val" if shot == 2 else "train") if identity <= 6 else (
                    "query" if shot == 0 else "gallery"
                )  # fmt: skip
                lists[part].append(f"{name} {identity}")
    for name, lines in lists.items():
        (root / "MSMT17_V1" / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_the_readme_has_the_commands_that_matter() -> None:
    assert any("dataset=msmt17 trainer.devices=4" in command for command in COMMANDS)
    assert any(command.startswith("-m ") for command in COMMANDS)
    assert any(command.startswith("resume=") for command in COMMANDS)


def from_crops_to_a_search(text: str, command: Command, data: Path, tmp_path: Path) -> None:
    """Run a command of that section, after those that it builds on."""
    crops = str(data / "Market-1501-v15.09.15" / "bounding_box_train")
    road = [c for c in COMMANDS if "runs/shop" in c]
    road.sort(
        key=lambda c: ["output=", "input=", "query="].index(
            re.search(r"output=|input=|query=", c)[0]
        )
    )
    for step in road[: road.index(text) + 1]:
        arguments = [a.replace("CROPS", crops).replace("QUERIES", crops) for a in shlex.split(step)]
        small = [*SMALL, *SMALL_NETWORK] if step.startswith("dataset=") else []
        outcome = command(*arguments, *small)
        assert outcome.code == 0, outcome
    made = {0: "runs/shop/results.json", 1: "galleries/shop"}.get(road.index(text))
    if made is None:
        assert list((tmp_path / "outputs" / "search").glob("*/board.png"))
    else:
        assert (tmp_path / made).exists()


@pytest.mark.parametrize("text", COMMANDS)
def test_a_command_of_the_readme_runs(
    text: str, command: Command, tiny: list[str], data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DCCC_DATA", str(data))
    if "runs/shop" in text:
        from_crops_to_a_search(text, command, data, tmp_path)
        return
    arguments = [a for a in shlex.split(text) if not a.startswith(("dataset.root=", "trainer"))]
    if "--help" in arguments:
        assert command(*arguments).code == 0
        return
    resumed = [a for a in arguments if a.startswith("resume=")]
    if resumed:
        assert command(*tiny, "epochs=2", f"output={resumed[0].removeprefix('resume=')}").code == 0
        arguments = [a.replace("epochs=32", "epochs=3") for a in arguments]
        outcome = command(*arguments)
    elif any(a.startswith("dataset=") for a in arguments):
        outcome = command(*arguments, *SMALL, *SMALL_NETWORK)
    else:
        outcome = command(*arguments, *tiny)
    assert outcome.code == 0, outcome
    for line in outcome.out.splitlines():
        if line.startswith("outputs:"):
            assert (Path(line.removeprefix("outputs: ")) / "results.json").exists()
    jobs = 9 if "scheduler.start=0.5,0.6,0.7" in arguments else 1
    assert outcome.out.count("outputs:") == jobs
    if any(a.startswith("dataset=") for a in arguments):
        assert "published" in outcome.out
        assert "difference" in outcome.out


def test_the_python_of_the_readme_runs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search, cluster = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    embeddings = np.random.default_rng(0).normal(size=(80, 16)).repeat(2, axis=0)
    names: dict[str, object] = {"embeddings": embeddings}
    exec(cluster, names)
    assert isinstance(names["labels"], np.ndarray)
    assert len(names["labels"]) == 160

    paths = sorted(data.glob("Market*/query/*.jpg"))
    exec(search, {"paths": paths})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(str(data) in line for line in lines)
