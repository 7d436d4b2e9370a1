"""What the tests share: a tiny world of pedestrians, and the command line in this process."""

import copy
import fcntl
import gc
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf, open_dict

from environment import own_environment

# Before anything is imported that reads the environment; workers of pytest-xdist inherit it.
HOME = None
if "PYTEST_XDIST_WORKER" not in os.environ and multiprocessing.parent_process() is None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it in all that the tests start
    HOME = Path(tempfile.mkdtemp(prefix="home-of-tests-"))
    given = own_environment(os.environ, HOME)
    os.environ.clear()
    os.environ.update(given)

from dccc_lightning import cli  # noqa: E402
from dccc_lightning.cli.run_folder import OutputGuard  # noqa: E402
from dccc_lightning.common.console import CONSOLE  # noqa: E402
from dccc_lightning.config import compositions  # noqa: E402

compositions.register()  # for tests that compose without the command line

# OpenVINO imports absl, whose handler closes the stream of its import when Hydra sets up logging.
with suppress(ImportError):
    from absl import logging as absl_logging

    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__


# The same examples every time, so that what passed once passes; `make fuzz` looks for others.
hypothesis.settings.register_profile("fuzz", derandomize=False)
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("same")

GOLDEN = Path(__file__).parent / "golden" / "dccc_reference.npz"


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]
Composed = Callable[..., dict[str, Any]]
MadeOnce = Callable[[str, Callable[[Path], object]], Path]
Steps = Callable[[Callable[[Any, int], object]], None]

LENGTH = ["epochs=4", "iterations=3", "eval_every=2"]
"""Of the run that ``whole`` holds, and of those that are compared with it."""

UNTRAINED = ["model.weights=null"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what tests make, not at modules, a million objects."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    if HOME is not None:
        shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def restored_environment() -> Iterator[None]:
    """Give the next test the environment that this one found."""
    found = dict(os.environ)
    yield
    if os.environ != found:
        os.environ.clear()
        os.environ.update(found)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold what is made once for all tests, whichever process of pytest-xdist runs them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def made_once(shared_folder: Path) -> MadeOnce:
    """Return a function that makes a folder for all tests, for the first one that needs it."""

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder = shared_folder / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f".{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                try:
                    fill(folder)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
        return folder

    return make


@pytest.fixture(scope="session")
def world_folder(shared_folder: Path) -> Path:
    """Hold the worlds that tests draw, once for all of them."""
    folder = shared_folder / "worlds"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny(world_folder: Path) -> list[str]:
    """Make a run on the synthetic pedestrians a matter of seconds."""
    return [
        f"dataset.root={world_folder}",
        "dataset.train_identities=16",
        "dataset.test_identities=6",
        "dataset.cameras=3",
        "image.height=32",
        "image.width=16",
        "batch.clusters=4",
        "batch.instances=4",
        "epochs=2",
        "iterations=2",
        "clustering.k1=12",
        "trainer=cpu",
        "callbacks.panels=null",  # seconds of pictures; test_panels.py has them
        "callbacks.page=null",  # its charts; test_panels.py has them
        "callbacks.map=null",  # seconds of t-SNE; test_map.py and test_panels.py have it
    ]


@pytest.fixture(scope="session")
def composed(tiny: list[str]) -> Composed:
    """Compose the settings of a task once for every choice, and return a copy with changes.

    So a task runs without a command line; the changes are arguments, or values by setting.
    """
    known: dict[tuple[str, ...], Any] = {}

    def settings(*choice: str, changes: Sequence[str] | Mapping[str, Any] = ()) -> dict[str, Any]:
        if choice not in known:
            with initialize_config_dir(str(cli.conf_dir()), version_base="1.3"):
                config = compose("train", [*choice, *tiny])
            with open_dict(config):
                del config.callbacks, config.logger  # they need Hydra's own settings
            known[choice] = OmegaConf.to_container(config, resolve=True)
        own = copy.deepcopy(known[choice])
        if not isinstance(changes, Mapping):
            parts = (argument.partition("=") for argument in changes)
            changes = {key: yaml.safe_load(value) for key, _, value in parts}
        for key, value in changes.items():
            group, _, leaf = key.rpartition(".")
            (own[group] if group else own)[leaf] = value
        return own

    return settings


@pytest.fixture(scope="session")
def embedder() -> Any:
    """Load the weights of the package, which no test may change."""
    from dccc_lightning import load_embedder

    return load_embedder("bundled", device="cpu")


def draw_crops(
    folder: Path, count: int, unreadable: Sequence[int] = (), size: tuple[int, int] = (24, 12)
) -> Path:
    """Draw noise into a folder, and files without content in the places of some."""
    import numpy as np
    from PIL import Image

    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    for index in unreadable:
        (folder / f"{index:02}.png").write_bytes(b"")
    return folder


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """Run ``python -m dccc_lightning ARGUMENTS`` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    monkeypatch.setattr(CONSOLE, "quiet", CONSOLE.quiet)

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["dccc_lightning", *arguments])
        monkeypatch.setattr(OutputGuard, "sweep", None)
        monkeypatch.setattr(OutputGuard, "absent", [])
        GlobalHydra.instance().clear()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    root, show_warning = logging.getLogger(), warnings.showwarning
    handlers, level = list(root.handlers), root.level
    yield run
    GlobalHydra.instance().clear()
    # A run sets up logging for its process: the next test gets this one's back.
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        if handler not in root.handlers:
            root.addHandler(handler)
    root.setLevel(level)
    warnings.showwarning = show_warning


@pytest.fixture
def whole(made_once: MadeOnce, command: Command, tiny: list[str]) -> Path:
    """Hold a run that nothing has stopped."""

    def fill(folder: Path) -> None:
        assert command(*tiny, *LENGTH, f"output={folder}").code == 0

    return made_once("whole", fill)


@pytest.fixture
def finished(made_once: MadeOnce, command: Command, tiny: list[str]) -> Path:
    """Hold a finished run that began without weights, and what its terminal showed."""

    def fill(folder: Path) -> None:
        outcome = command(*tiny, *UNTRAINED, "epochs=3", "eval_every=2", f"output={folder}")
        assert outcome.code == 0, outcome
        assert outcome.out.splitlines()[-1] == f"outputs: {folder}"
        (folder / "terminal.txt").write_text(outcome.out)

    return made_once("finished", fill)


@pytest.fixture
def at_steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Call a function before the steps of a run, with the module and the number of the step."""
    from dccc_lightning.module import DCCCModule

    def install(act: Callable[[Any, int], object]) -> None:
        original = DCCCModule.training_step  # with what was installed before

        def training_step(self: DCCCModule, batch: Any, batch_idx: int) -> Any:
            act(self, self.global_step)
            return original(self, batch, batch_idx)

        monkeypatch.setattr(DCCCModule, "training_step", training_step)

    return install


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Hold what the stand-in of SLURM notes; its commands are found by their names."""
    pytest.importorskip("submitit")
    from dccc_lightning.sweeps import slurm_launcher

    source = Path(__file__).with_name("slurm_stand_in.py")
    home, tools = tmp_path / "cluster", tmp_path / "bin"
    home.mkdir()
    tools.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel", "scontrol", "squeue", "sinfo"):
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} {source} {name} "$@"\n')
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_SLURM", str(home))
    monkeypatch.setattr(slurm_launcher, "POLL_SECONDS", 0.1)
    yield home
    for group in home.glob("*/group"):  # jobs that a test has left running
        with suppress(ProcessLookupError):
            os.killpg(int(group.read_text()), signal.SIGKILL)
