"""Every command and every snippet of README and docs runs, made small.

A new command usually needs nothing. If its test fails, one of these tables wants a line:
``PLACEHOLDERS`` for a word in capitals, ``PREPARED`` for a file or folder that must be there
before, ``SMALLER`` for arguments that make it small, ``NOT_RUN`` for what cannot be run here.
"""

import functools
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from conftest import Command, MadeOnce, Outcome
from dccc_lightning.models.backbones import build_backbone
from documents import COMMANDS, PAGES, ROOT, package_arguments, snippets

HINT = f"see the tables of {Path(__file__).name}"
PYTHON = "python -m dccc_lightning"

NOT_RUN = {
    r"pip install .*": "needs a package index",
    r"make .*": "its targets are looked up; what they call is tested by itself",
    r"#SBATCH .*": "SLURM's; its options are looked at",
    r"python benchmarks/.*": "measures for minutes or hours",
    r"(jupyter|python -m ipykernel) .*": "test_notebooks.py and test_jupyter_server.py run them",
    r"wandb (login|sync).*": "needs an account",
    r"wandb leet .*": "draws on a terminal until it is left",
    rf"{PYTHON} --config-dir my_conf .*": "test_docs.py runs them with the examples of the page",
    rf"{PYTHON} -m sweep=study/\w+": "hundreds of trainings; its test composes them",
    r"srun .*(num_nodes|msmt17).*|.*hydra/launcher=slurm.*": "tests/slurm runs them",
    r"NODE_RANK=0 .*": "waits for a second node; test_ddp.py has two",
}
"""Commands that this file does not run, and why not."""

PLACEHOLDERS = {
    "DATA": "data", "PATH": "data", "CROPS": "crops", "QUERIES": "queries", "FOLDER": "started",
    "FILE": "weights.pth", "PROJECT": "people", "A": "runs/first", "B": "runs/second",
    "$SLURM_ARRAY_TASK_ID": "2", "MARKET": "market", "VISITS": "visits",
    "PATH/0101_c2s1_010824_01.jpg": "2",  # an image of the world that is not drawn here, by its id
}  # fmt: skip
"""Words that the reader replaces, by what is here."""

SMALL = (
    "image.height=32", "image.width=16", "batch.clusters=4", "batch.instances=4", "epochs=1",
    "iterations=1", "clustering.k1=8", "callbacks.panels=null", "callbacks.map=null",
)  # fmt: skip
"""Of every training."""

SMALLER = {
    r"resume=\S+ epochs=32": ["epochs=2"],
    r"task=export ckpt=runs/shop": ["format=pt2"],
    r"task=dashboard dashboard\.entity": ["dashboard.upload=false"],
    r"logger\.wandb\.mode=online": ["logger.wandb.mode=offline"],
    r"model\.weights=imagenet": ["model=resnet10", "model.weights=null"],
    r"accumulate_grad_batches=4": ["model.bn_group_size=4"],
    r"subject=overhead": ["image.width=32"],  # square
    r"experiment=small": ["model=resnet10", "model.weights=null"],
    r"model=timm": ["model.weights=null", "image.height=64", "image.width=32"],
    r"sweep=dcps_grid": ["scheduler=fixed,cosine", "scheduler.start=0.6"],
    r"sweep=ablation": ["scheduler=fixed", "memory=dycl", "seed=1,2"],
    r"sweep=dcps_range": ["hydra.sweeper.trials=1"],
}
"""Further arguments, by what a command has; they come last."""

# Data


def save(path: Path, identity: int, camera: int, shot: int) -> None:
    """Write a crop whose colour says who it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    color = (identity * 20 % 256, 255 - identity * 17 % 256, 60 + camera * 30 + shot)
    Image.new("RGB", (16, 32), color).save(path)


def grow_datasets(root: Path) -> None:
    """Grow a tiny copy of every dataset that a page names, in its official layout."""
    lists: dict[str, list[str]] = {name: [] for name in ("train", "val", "query", "gallery")}
    for identity, camera, shot in itertools.product(range(1, 11), range(1, 4), range(3)):
        part = 0 if identity <= 6 else 1 if shot == 0 else 2
        box = ("bounding_box_train", "query", "bounding_box_test")[part]
        last = (f"train/{identity:06d}", "test/query", f"test/gallery/{identity:06d}")[part]
        person = f"{identity:04d}"
        msmt = f"{person}/{person}_{shot:03d}_{camera:02d}_0303noon_0001_0.jpg"
        for name in (
            f"Market-1501-v15.09.15/{box}/{person}_c{camera}s1_{shot:06d}_00.jpg",
            f"DukeMTMC-reID/{box}/{person}_c{camera}_f{shot:07d}.jpg",
            f"cuhk03-np/labeled/{box}/{person}_c{camera}_{shot}.png",
            f"VeRi/{('image_train', 'image_query', 'image_test')[part]}"
            f"/{person}_c{camera:03d}_{shot:08d}_0.jpg",
            f"last/{last}/{identity:06d}_{camera}{shot}.jpg",
            f"MSMT17_V1/{'test' if part else 'train'}/{msmt}",
        ):
            save(root / name, identity, camera, shot)
        listed = ("val" if shot == 2 else "train", "query", "gallery")[part]
        lists[listed].append(f"{msmt} {identity}")
    for name, lines in lists.items():
        (root / "MSMT17_V1" / f"list_{name}.txt").write_text("\n".join(lines) + "\n")


def grow_crops(folder: Path) -> None:
    """Save crops of one's own, with cameras and identities in their names."""
    for identity, camera, shot in itertools.product(range(10), range(1, 4), range(3)):
        save(folder / f"cam{camera}" / f"{identity:04d}_{shot:03d}.jpg", identity, camera, shot)


def grow_visits(folder: Path) -> None:
    """Save crops whose names hold a number, a day and a camera."""
    for identity, camera, shot in itertools.product(range(10), range(1, 4), range(3)):
        name = f"P{identity // 2}T{identity % 2}C{camera}_{shot}.jpg"
        save(folder / name, identity, camera, shot)


def grow_table(file: Path) -> None:
    """Write the table of the crops."""
    rows = [f"cam{c}/{i:04d}_000.jpg,cam{c},{i}," for c in range(1, 4) for i in range(10)]
    file.write_text("\n".join(["path,camera,identity,split", *rows]) + "\n")


# What commands and snippets find


class Workshop:
    """Makes what has to be there, each thing once.

    A method gets a place, a folder or a file, and fills it.
    """

    def __init__(self, run: Command, world: list[str], ckpt: str) -> None:
        self.run, self.world, self.ckpt = run, [*world, "trainer=cpu"], ckpt

    def done(self, *arguments: str) -> None:
        outcome = self.run(*arguments, *self.world)
        assert outcome.code == 0, outcome

    def trained(self, folder: Path) -> None:
        self.done(*SMALL, f"output={folder}")

    def network(self, folder: Path) -> str:
        """Return an argument with a network, beside ``folder`` if it has to be trained."""
        if self.ckpt == "bundled":
            return "ckpt=bundled"
        self.trained(folder.with_name("run"))
        return f"ckpt={folder.with_name('run')}"

    def gallery(self, folder: Path) -> None:
        place = [f"index={folder}", f"output={folder.with_name('indexed')}"]
        self.done("task=index", self.network(folder), "input=gallery", *place)

    def calibration(self, file: Path) -> None:
        self.gallery(file.with_name("gallery"))
        place = [f"index={file.with_name('gallery')}", f"output={file.with_name('made')}"]
        self.done("task=calibrate", *place, "false_match_rate=0.1")
        shutil.copy(file.with_name("made") / file.name, file)

    def sweep(self, folder: Path) -> None:
        self.done("-m", "scheduler=fixed,cosine", f"hydra.sweep.dir={folder}", *SMALL)

    def embedded(self, folder: Path) -> None:
        self.done("task=embed", "ckpt=bundled", "input=gallery", f"output={folder}")

    def parts(self, folder: Path) -> None:
        for number in "12":
            place = [f"part={number}/2", f"output={folder / number}"]
            self.done("task=embed", "ckpt=bundled", "input=gallery", *place)

    def identified(self, folder: Path) -> None:
        self.done("task=identify", self.network(folder), "input=gallery", f"output={folder}")

    def embeddings(self, file: Path) -> None:
        self.embedded(file.parent)

    def pretrained(self, file: Path) -> None:
        self.done("task=pretrain", *SMALL, f"output={file.parent}")

    def exported(self, file: Path) -> None:
        self.done("task=export", "ckpt=bundled", f"output={file.parent}")

    def imagenet(self, file: Path) -> None:
        torch.save(build_backbone("resnet50_ibn_a").state_dict(), file)

    def datasets(self, folder: Path) -> None:
        grow_datasets(folder)

    def market(self, folder: Path) -> None:
        grow_datasets(folder.with_name("all"))
        folder.with_name("all").joinpath("Market-1501-v15.09.15").rename(folder)

    def crops(self, folder: Path) -> None:
        grow_crops(folder)

    def visits(self, folder: Path) -> None:
        grow_visits(folder)

    def table(self, file: Path) -> None:
        grow_table(file)

    def boxes(self, file: Path) -> None:
        file.write_text("".join(f"{n},1,{n},1,60,100,0.9\n" for n in range(1, 31)))

    def clip(self, file: Path) -> None:
        clips = pytest.importorskip("clips", reason="needs the extra video")
        clips.draw(file)

    def crop(self, file: Path) -> None:
        save(file, 1, 2, 0)


PREPARED = {
    "run": "trained", "runs/first": "trained", "runs/second": "trained", "runs/shop": "trained",
    "started": "trained", "outputs/synthetic/2026-11-22_14-22-09": "trained",
    "galleries/first": "gallery", "galleries/shop": "gallery",
    "sweeps/grid": "sweep", "grid": "sweep",
    "m2": "embedded", "parts": "parts", "people/monday": "identified",
    "gallery/embeddings.npy": "embeddings", "gallery/images.parquet": "embeddings",
    "runs/3/calibration.json": "calibration",
    "source/weights.pt": "pretrained", "weights.pth": "imagenet",
    "exported/model.onnx": "exported", "exported/model.pt2": "exported",
    "exported/example.jpg": "exported",
    "data": "datasets", "market": "market", "crops": "crops", "queries": "crops", "many": "crops",
    "visits": "visits",
    "labels.csv": "table", "hall.txt": "boxes", "hall.mp4": "clip",
    "crops/0001_c2s1_064863_00.jpg": "crop", "crops/0001_c2s1_064888_01.jpg": "crop",
    "crop.jpg": "crop", "query.jpg": "crop",
}  # fmt: skip
"""Files and folders that commands and snippets read, and what of the ``Workshop`` makes each."""

DRAWN = ("datasets", "crops", "visits", "table", "crop", "boxes", "clip")
"""What is made in no time, where it is needed; the others are made once for all tests."""

WRITES = ("output", "index", "hydra.sweep.dir")
"""Arguments that name what a command makes; it must not be there before."""


@pytest.fixture(scope="module")
def world(world_folder: Path) -> list[str]:
    """Return the arguments of the tiny world, for every command on the synthetic dataset."""
    return [
        f"dataset.root={world_folder}", "dataset.train_identities=16", "dataset.test_identities=6",
        "dataset.cameras=3",
    ]  # fmt: skip


@pytest.fixture
def prepare(
    made_once: MadeOnce, tmp_path: Path, command: Command, world: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], None]:  # fmt: skip
    """Put what a text names into the folder that it runs in."""

    def put(text: str) -> None:
        ckpt = "bundled" if "ckpt=bundled" in text else "trained"
        workshop = Workshop(command, world, ckpt)
        for name, kind in PREPARED.items():
            if not re.search(rf"(?<![\w/.]){re.escape(name)}(?![\w/])", text):
                continue
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            make = getattr(workshop, kind)
            if kind in DRAWN:
                make(target)
                continue
            place = target.name if target.suffix else "it"

            def fill(folder: Path, make: Callable = make, place: str = place) -> None:
                folder.mkdir()
                make(folder / place)

            source = made_once(f"prepared/{ckpt}/{kind}", fill) / place
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, target)

    monkeypatch.setenv("DCCC_DATA", "data")
    return put


# Commands


def reason_not_run(text: str) -> str | None:
    """Return why a command is not run; None if it is."""
    return next((why for form, why in NOT_RUN.items() if re.fullmatch(form, text)), None)


def few(arguments: list[str], most: int = 2) -> list[str]:
    """Leave values of a sweep out, the last ones first, until its jobs are few."""
    parser = OverridesParser.create()
    values = {}
    for place, argument in enumerate(arguments):
        override = parser.parse_override(argument) if "=" in argument else None
        if override is not None and override.is_sweep_override():
            values[place] = list(override.sweep_string_iterator())
    while np.prod([len(v) for v in values.values()]) > most:
        max(values.values(), key=len).pop()
    return [
        f"{argument.partition('=')[0]}={','.join(values[place])}" if place in values else argument
        for place, argument in enumerate(arguments)
    ]


def tiny_worlds(argument: str, world: list[str]) -> str:
    """Make the synthetic datasets among ``datasets=`` tiny ones."""
    settings = ",".join(setting.removeprefix("dataset.").replace("=", ":") for setting in world)
    argument = re.sub(r"(?<=[\[,])synthetic(?=[,\]])", "{dataset:synthetic}", argument)
    return argument.replace("{dataset:synthetic", f"{{dataset:synthetic,{settings}")


def made_small(text: str, world: list[str]) -> list[str]:
    """Return the arguments of a command, with placeholders filled in and smaller in everything."""
    arguments = package_arguments(text) or []
    given = {argument.partition("=")[0]: argument for argument in arguments}
    if {"--help", "--cfg"} & set(given):
        return arguments
    words = "|".join(sorted(map(re.escape, PLACEHOLDERS), key=len, reverse=True))
    filled = [
        re.sub(rf"(?<![\w/.])(?:{words})(?![\w.])", lambda m: PLACEHOLDERS[m[0]], argument)
        for key, argument in given.items()
        if key not in ("trainer", "trainer.devices", "trainer.num_nodes")
    ]
    filled = [tiny_worlds(a, world) if a.startswith("datasets=") else a for a in filled]
    added = ["trainer=cpu"] if "resume" not in given else []
    dataset = given.get("dataset", "dataset=synthetic").partition("=")[2]
    if dataset == "synthetic" and "resume" not in given:
        added += world
    if given.get("task", "task=train") in ("task=train", "task=pretrain") and "resume" not in given:
        added += SMALL
        if dataset != "synthetic" and "model" not in given:
            added.append("model=resnet10")
    for form, more in SMALLER.items():
        if re.search(form, text):
            added += more
    return few([*filled, *added]) if "-m" in given else [*filled, *added]


def test_a_command_is_run_or_said_not_to_be() -> None:
    for text, page in COMMANDS.items():
        assert reason_not_run(text) or package_arguments(text) is not None, (
            f"{page}: `{text}` is neither run nor listed; {HINT}"
        )


@pytest.mark.parametrize("text", [text for text in COMMANDS if text.startswith("make ")])
def test_a_target_of_make_exists(text: str) -> None:
    called = ["make", "--dry-run", *shlex.split(text)[1:]]
    outcome = subprocess.run(called, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


def test_options_of_sbatch_are_options() -> None:
    known = {"signal", "requeue", "open-mode", "nodes", "ntasks-per-node", "gres",
             "cpus-per-task", "time", "array"}  # fmt: skip
    options = [shlex.split(text[7:]) for text in COMMANDS if text.startswith("#SBATCH")]
    given = [option.removeprefix("--").partition("=")[0] for option in itertools.chain(*options)]
    assert set(given) <= known


RUN = [text for text in COMMANDS if reason_not_run(text) is None]


@pytest.mark.slow
@pytest.mark.parametrize("text", RUN, ids=str)
def test_a_command_runs(
    text: str, command: Command, prepare: Callable[[str], None], world: list[str], tmp_path: Path
) -> None:
    arguments = made_small(text, world)
    read = [a for a in arguments if a.partition("=")[0] not in WRITES or builds_upon(a, text)]
    named = "data" if re.search(r"market1501|dukemtmc|msmt17", text) else ""
    prepare(" ".join([*read, named]))
    if text.startswith("torchrun"):
        outcome = torchrun([*arguments, "trainer.devices=2"], tmp_path)
    else:
        outcome = command(*arguments)
    told = f"{COMMANDS[text]}: {text}\nran as: {' '.join(arguments)}\n{outcome}\n{HINT}"
    if "task=verify" in text and not re.search(r"dataset=(synthetic|folder)", text):
        assert outcome.code == 2, told  # for a tiny copy has not the official counts
        assert "is not fit" in outcome.err, told
        return
    assert outcome.code == 0, told
    for folder in re.findall(r"(?m)^outputs: (.*)$", outcome.out):
        assert any(Path(folder).iterdir()), told


def builds_upon(argument: str, text: str) -> bool:
    """Tell whether a command changes or searches the gallery that it names."""
    return argument.startswith("index=") and ("input=" not in text or "task=index" not in text)


def torchrun(arguments: list[str], folder: Path) -> Outcome:
    """Start two processes, for real."""
    started = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone",
         "-m", "dccc_lightning", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    return Outcome(started.returncode, started.stdout, started.stderr)


# Snippets

SKETCHES = {
    "docs/extending.md": "test_docs.py runs them",
}
"""Pages whose Python is not run here, and why not."""

TINY = {
    "SyntheticPedestrians()": "SyntheticPedestrians(train_identities=4, cameras=2)",
    "epochs, k1 = 256, 128, 200, 70, 30": "epochs, k1 = 32, 16, 2, 2, 8",
    "height, width, 16, 16,": "height, width, 4, 4,",
    "weights=None, image_size": "weights=None, bn_group_size=16, image_size",
}
"""What is made small in snippets."""


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if snippets(p) and p not in SKETCHES])
def test_the_snippets_of_a_page_run(
    page: str, prepare: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grow_crops(tmp_path / "people")
    names = {
        "paths": sorted((tmp_path / "people").rglob("*.jpg")),
        "embeddings": np.random.default_rng(0).normal(size=(80, 16)).repeat(2, axis=0),
    }
    for code in snippets(page):
        prepare(code)
        small = functools.reduce(lambda text, change: text.replace(*change), TINY.items(), code)
        exec(compile(small, page, "exec"), names)
