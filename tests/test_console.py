"""Progress and printed lines: on a terminal, in a pipe, under CI."""

import io
import os
import pty
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.table import Table

from dccc_lightning import cli
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.common import console, progress
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.metrics.reranking import Rerank
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.neighbors.nearest import knn
from dccc_lightning.training.callbacks.epoch_line import EpochLine

CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


@pytest.fixture
def announced(monkeypatch):
    """Collect every phase that ends."""
    ended, remove = [], progress.PHASES.remove_task

    def remove_task(number):
        ended.extend(task for task in progress.PHASES.tasks if task.id == number)
        remove(number)

    monkeypatch.setattr(progress.PHASES, "remove_task", remove_task)
    return ended


def in_progress():
    return [task.description for task in progress.PHASES.tasks]


def test_phases_nest_and_leave_nothing_behind():
    outer = progress.Phase("clustering")
    with progress.announced("searching", 3):
        assert in_progress() == ["clustering", "searching"]
    with pytest.raises(ZeroDivisionError), progress.announced("searching", 3):
        raise ZeroDivisionError
    assert in_progress() == ["clustering"]
    outer.end()
    assert in_progress() == []


def test_items_are_counted_once_they_are_worked_off(announced):
    seen = []
    for letter in progress.track("abc", "letters", 3, unit="letters"):
        seen.append((letter, progress.PHASES.tasks[-1].completed))
    assert seen == [("a", 0), ("b", 1), ("c", 2)]
    assert announced[0].completed == 3
    assert list(progress.track("abc", "letters", 3, enabled=False)) == ["a", "b", "c"]
    assert len(announced) == 1


@pytest.fixture
def clock(monkeypatch):
    """Let the display's clock stand at a time that a test sets."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.PHASES, "get_time", lambda: clock.now)
    return clock


def drawn(width=80):
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    screen.print(progress.PHASES)
    return screen.file.getvalue()


def test_a_rate_counts_what_was_done_here(clock):
    with progress.announced("training", 30, "steps", done=10) as phase:
        clock.now += 50
        assert "10/30 steps\n" in drawn()
        phase.advance(10)  # a slow step
        assert "20/30 steps, 0.2/s, 0:50 left" in drawn()


@pytest.mark.parametrize("backend", ["faiss", "torch", "approximate"])
def test_neighbours_and_distances_say_how_far_they_are(backend, announced):
    rows = np.random.default_rng(0).normal(size=(4500, 8)).astype(np.float32)
    jaccard_graph(rows, k1=8, k2=3, neighbors=knn(rows, 8, backend))
    whole = {p.description for p in announced if p.total and p.total == p.completed}
    assert whole >= {"finding neighbours", "counting near pairs", "computing distances"}
    assert "finding reciprocal neighbours" in {p.description for p in announced}
    assert in_progress() == []


def test_ranking_says_how_far_it_is(announced):
    features = torch.eye(40)
    people, one, two = torch.arange(40), torch.zeros(40), torch.ones(40)
    for rerank, name in ((None, "ranking"), (Rerank(4, 2), "re-ranking")):
        evaluate_retrieval(features, people, one, features, people, two, rerank=rerank)
        phases = [p for p in announced if p.description == f"{name} the gallery"]
        assert [(p.completed, p.total) for p in phases] == [(40, 40)]
        assert phases[0].fields == {"unit": "queries"}


def test_building_an_index_says_how_far_it_is(announced):
    rows = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    GalleryIndex.build(rows, [f"{n}.jpg" for n in range(200)], fingerprint="x", kind="ivf")
    counted = {p.description: (p.completed, p.total) for p in announced}
    assert counted["building the index"] == (200, 200)
    assert {"training the index", "measuring the recall"} <= set(counted)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("total", [None, 0, 12936])
def test_the_display_is_one_line_of_any_width(width, total, clock):
    with progress.announced("embedding [the] training images", total) as phase:
        clock.now += 60
        phase.advance(total // 2 if total else 0)
        line = drawn(width).removesuffix("\n")
    assert "\n" not in line
    assert len(line) <= width
    if width >= 80:
        assert "embedding [the] training images" in line
        assert ("6,468/12,936 images, 108/s, 1:00 left" if total else "") in line
        assert ("1:00" if total is None else "") in line


def test_what_comes_and_goes_is_not_shown(clock):
    assert drawn() == "\n"
    with progress.announced("clustering"):
        clock.now += 60
        with progress.announced("searching"):
            clock.now += 0.1
            assert "clustering" in drawn()
            clock.now += 0.2
            assert "searching" in drawn()
        assert "clustering" in drawn()


@pytest.mark.parametrize(
    ("environ", "is_terminal", "has_color"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm-256color", "CI": "true"}, False, False),
        ({"TERM": "xterm-256color", "CI": "false"}, True, True),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_the_environment_decides_how_plain_it_is(environ, is_terminal, has_color, monkeypatch):
    for name in ("NO_COLOR", "CI", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    made = console.make_console()
    assert made.is_terminal is is_terminal
    assert (made.color_system is not None and not made.no_color) is has_color


NAMES = ("/data/[cam1]/gallery", "[/bold]", ":cat: [red]", "a\\\\[b]")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_users_are_printed_as_they_are(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    table = Table(name, title=f"title {name}", caption=f"caption {name}")
    table.add_row(f"cell {name}")
    for environ in ({"TERM": "xterm-256color", "FORCE_COLOR": "1"}, {"TERM": "dumb"}):
        made = console.make_console({"COLUMNS": "200"} | environ)
        with made.capture() as printed:
            made.print(f"gallery: {name}", style="dim")
            made.print(table)
        said = CONTROL.sub("", printed.get())
        assert [said.count(f"{part}{name}") for part in ("gallery: ", "title ", "cell ")] == [1] * 3
        assert said.count(f"caption {name}") == 1
        assert said.count(name) == 5  # the head, too


def test_there_is_one_console():
    package = Path(console.__file__).parent
    made = {p.name for p in package.rglob("*.py") if re.search(r"\bConsole\(", p.read_text())}
    assert made == {"console.py"}


SCRIPT = textwrap.dedent("""
    import logging, sys, time, warnings
    logging.basicConfig(format="%(message)s")
    from dccc_lightning.common.console import CONSOLE, progress_shown
    from dccc_lightning.common.progress import announced
    with progress_shown(), announced("training", 4, "steps") as phase:
        for step in range(4):
            time.sleep(0.15)
            phase.advance()
            CONSOLE.print(f"line {step}", style="bold")
            if step == 2:
                logging.warning("logged")
                print("printed", file=sys.stderr)
    print("the end")
""")


FORKING = textwrap.dedent("""
    import logging, os, signal, sys, threading, warnings
    logging.basicConfig(format="%(message)s")
    warnings.simplefilter("ignore")  # Python 3.12 warns of the fork, which waits for the lock
    from dccc_lightning.common.console import CONSOLE, progress_shown
    from dccc_lightning.common.progress import PHASES, announced

    def hold(taken, forked):
        with CONSOLE._lock, PHASES._lock:  # as the thread that draws does at times
            taken.set()
            forked.wait()

    taken, forked = threading.Event(), threading.Event()
    with progress_shown():
        threading.Thread(target=hold, args=(taken, forked)).start()
        taken.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # instead of waiting for ever
            logging.warning("logged")
            print("printed", file=sys.stderr)
            with announced("searching"):
                CONSOLE.print("shown")
            print("said", flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        forked.set()
    sys.exit(status)
""")


def in_terminal(tmp_path: Path, script: str = SCRIPT, **environment: str) -> str:
    """Run a script in a terminal of 80 columns; return all that it was sent."""
    (tmp_path / "script.py").write_text(script)
    ours, theirs = pty.openpty()
    clean = {k: v for k, v in os.environ.items() if k not in ("CI", "NO_COLOR", "FORCE_COLOR")}
    clean |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"} | environment
    with subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stdin=theirs,
                          stdout=theirs, stderr=theirs, env=clean) as process:  # fmt: skip
        os.close(theirs)
        sent = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # the other side has gone
                break
            if not part:
                break
            sent += part
        assert process.wait() == 0
    os.close(ours)
    return sent.decode()


def screen_after(sent: str) -> list[str]:
    """Play the few control codes that are sent; return the lines that stay."""
    lines, row, column = [""], 0, 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", sent):
        code = CONTROL.fullmatch(part)
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif code and code[2] == "A":
            row -= int(code[1] or 1)
        elif code and code[2] == "K":
            lines[row] = "" if code[1] == "2" else lines[row][:column]
        elif code:
            assert code[2] in "mhl", part  # colour, cursor on and off
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


def test_a_terminal_keeps_the_lines_and_nothing_of_the_display(tmp_path):
    sent = in_terminal(tmp_path)
    assert "training" in sent
    assert "/4 steps, " in sent
    assert sent.endswith("the end\r\n")
    assert screen_after(sent) == [
        "line 0", "line 1", "line 2", "logged", "printed", "line 3", "the end"
    ]  # fmt: skip


def test_a_forked_process_prints_while_the_display_is_drawn(tmp_path):
    sent = in_terminal(tmp_path, FORKING)
    assert "logged\r\nprinted\r\nshown\r\nsaid\r\n" in sent  # nothing drawn in between


@pytest.mark.parametrize("environment", [{"CI": "true"}, {"TERM": "dumb"}])
def test_ci_and_dumb_terminals_get_no_control_codes(tmp_path, environment):
    sent = in_terminal(tmp_path, **environment)
    assert "\x1b" not in sent
    assert sent.replace("\r\n", "\n").splitlines() == [
        "line 0", "line 1", "line 2", "logged", "printed", "line 3", "the end"
    ]  # fmt: skip


def test_the_line_of_an_epoch_has_the_columns_that_there_are(capsys):
    trainer = SimpleNamespace(is_global_zero=True, max_epochs=2)
    clusters = {"step": 9, "cluster/eps": 0.5, "cluster/num_clusters": 7.0, "train/loss": 1.5,
                "cluster/outlier_ratio": 0.125, "cluster/silhouette": 0.25}  # fmt: skip
    unjudged, judged = EpochLine(), EpochLine()
    for epoch in (0, 1):
        unjudged.on_epoch_row(trainer, {"epoch": epoch} | clusters)
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "epoch", "eps", "clusters", "outliers", "silhouette", "churn", "loss", "time"
    ]  # fmt: skip
    assert first.split()[:6] == ["1/2", "0.500", "7", "12%", "0.250", "1.500"]
    assert len(header) == len(first) == len(second)
    judged.on_epoch_row(trainer, {"epoch": -1, "step": 0, "val/mAP": 0.347})
    judged.on_epoch_row(trainer, {"epoch": 0, "cluster/ari": 0.5} | clusters)
    header, start, line = capsys.readouterr().out.splitlines()
    assert "silhouette" not in header
    assert start.split()[:2] == ["start", "34.7%"]
    assert line.split()[:6] == ["1/2", "0.500", "7", "12%", "0.50", "1.500"]


def test_an_early_interrupt_leaves_nothing_and_a_late_one_what_is_done(
    command, tiny, tmp_path, monkeypatch
):
    from dccc_lightning.tasks import index

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    arguments = ("task=index", "ckpt=bundled", "input=query", "index=gallery", *tiny)
    with monkeypatch.context() as patch:
        patch.setattr(index, "embed_images", interrupted)
        assert command(*arguments, "output=runs/one").code == 130
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(index.CONSOLE, "print", interrupted)
    assert command(*arguments, "output=runs/two").code == 130
    assert (tmp_path / "runs" / "two" / "results.json").exists()


def test_a_display_waits_for_a_terminal_and_for_the_first_process(monkeypatch, capsys):
    with console.progress_shown(), progress.announced("searching", 3):
        assert capsys.readouterr().out == ""
    monkeypatch.setattr(type(console.CONSOLE), "is_terminal", True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with console.progress_shown(enabled=False), progress.announced("searching", 3):
        assert capsys.readouterr().out == ""


def test_help_has_every_group_with_its_options_and_says_what_each_task_does(command):
    said = command("--help").out
    for group in (path for path in cli.conf_dir().iterdir() if path.is_dir()):
        options = ", ".join(sorted(path.stem for path in group.glob("*.yaml")))
        assert group.name == "hydra" or f"{group.name}: {options}\n" in said
    groups = re.findall(r"(?m)^([a-z_/0-9]+): ", said)
    assert [group for group in groups if "/" in group] == []  # bases, and grids of one study
    assert "sweep=study/NAME is one table" in said
    for task in (cli.conf_dir() / "task").glob("*.yaml"):
        assert re.search(rf"(?m)^  {task.stem} +\S+ \S+", said), task.stem
    examples = re.findall(r"(?m)^ +python -m dccc_lightning.*", said)
    assert len(examples) >= 8
    assert max(map(len, examples)) <= 88


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--info", "defaults"], "Defaults List"),
        (["--info"], "Config search path"),
        (["--cfg", "job"], "iterations: 30"),
        (["task=search", "--cfg", "job"], "exclude_camera"),
        (["--hydra-help"], "--multirun"),
    ],
)
def test_what_hydra_says_about_itself_can_be_asked_for(flags, said, command, tmp_path):
    outcome = command(*flags)
    assert outcome.code == 0
    assert said in outcome.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [["--help"], ["--info", "defaults"]])
def test_a_reader_that_leaves_early_is_no_error(flags):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        ended = subprocess.run(
            [sys.executable, "-m", "dccc_lightning", *flags],
            stdout=gone, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert ended.stderr == ""
