"""The life of a run: started, killed, resumed, killed again, until it ends."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torture_rank
from torture_checks import differences
from torture_marks import Marks
from torture_rank import ForkedProcess

TINY = [
    "dataset.train_identities=16", "dataset.test_identities=6", "dataset.cameras=3",
    "image.height=32", "image.width=16", "batch.clusters=4", "batch.instances=4",
    "clustering.k1=12", "trainer=cpu", "epochs=4", "iterations=3", "eval_every=2",
    "callbacks.panels.every=null", "checkpoint.every_n_steps=1",
]  # fmt: skip
AIMS = (
    "embedding", "clustering", "steps", "evaluation", "checkpoint", "rows", "pages", "any moment",
)  # fmt: skip
WHOM = {1: ("run",), 2: ("rank 0", "rank 1", "group")}
"""Whom a kill hits, by the number of processes. Rank 0 is the launcher of the other."""

LONGEST = 240.0
"""Seconds after which a process hangs, on a busy machine too."""


@dataclass
class Kill:
    """A kill, as it is written down.

    Attributes:
        aim: Phase that was aimed at, and its how-manieth beginning.
        delay: Seconds from there to the kill.
        phases: Phase of each rank when it died.
        seconds: From the start of the command to the kill.
        resumed: How the run was resumed.
        faults: What was wrong then or at the end of the life.
    """

    seed: int
    life: int
    number: int
    processes: int
    whom: str
    aim: str
    delay: float
    phases: list[str]
    seconds: float
    resumed: str = ""
    faults: str = ""


class Torture:
    """Runs in a folder that are killed.

    Args:
        folder: Holds worlds, uninterrupted runs, kills.jsonl and the folders of failures.
        seed: Of all that is drawn.
        until: ``time.monotonic()`` after which nothing is killed any more.
    """

    def __init__(self, folder: Path, seed: int, until: float) -> None:
        self.folder, self.seed, self.until = folder, seed, until
        self.random = random.Random(seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.marks = Marks(folder / "marks")
        self.record = folder / "kills.jsonl"
        self.aims: list[str] = []
        self.groups: list[int] = []
        self.seconds: dict[int, dict[str, float]] = {}

    def whole(self, processes: int) -> Path:
        """Return an uninterrupted run, and compare a forked one with it."""
        run = self.folder / f"whole_{processes}"
        arguments = [*self.arguments(processes), f"output={run.name}"]
        if not (run / "results.json").exists():
            shutil.rmtree(run, ignore_errors=True)
            command = [sys.executable, "-m", torture_rank.PACKAGE, *arguments]
            with run.with_suffix(".txt").open("wb") as out:
                subprocess.run(command, cwd=self.folder, stdout=out, stderr=out, check=True)
        forked = self.folder / f"forked_{processes}"
        shutil.rmtree(forked, ignore_errors=True)
        since = time.monotonic()
        code, _ = self.command([*arguments[:-1], f"output={forked.name}"], forked, None)
        found = differences(run, forked) if code == 0 else [f"code {code}"]
        if found:
            raise SystemExit(f"a forked run is not the same without a kill either: {found}")
        self.seconds[processes] = self.marks.mean_seconds()
        self.seconds[processes]["any moment"] = time.monotonic() - since
        return run

    def arguments(self, processes: int) -> list[str]:
        return [f"dataset.root={self.folder / 'worlds'}", *TINY, f"trainer.devices={processes}"]

    def live(self, life: int, processes: int, kills: int) -> list[Kill]:
        """Kill a run ``kills`` times, or until it ends; compare it and write the kills down."""
        whole, run = self.folder / f"whole_{processes}", self.folder / f"life_{self.seed}_{life}"
        arguments, ways = self.arguments(processes), [f"resume={run.name}"]
        queue = [*arguments, f"output={run.name}", "ckpt_path=last"]
        command, fallen, faults = [*arguments, f"output={run.name}"], list[Kill](), list[str]()
        while not faults:
            kill = None
            if len(fallen) < kills and time.monotonic() < self.until:
                kill = self.drawn(life, len(fallen), processes)
            code, hit = self.command(command, run, kill)
            if hit is None:
                faults = differences(whole, run) if code == 0 else [f"ended with code {code}"]
                break
            fallen.append(hit)
            if hit.faults:
                faults = [hit.faults]
            command = self.random.choice((ways, queue))
            hit.resumed = command[-1]
            if code == 0:  # rank 1 fell while rank 0 wrote the last pages, without it
                faults = faults or differences(whole, run)
                break
        if fallen:
            self.forget(fallen[-1])
            faults += [fallen[-1].faults] * bool(fallen[-1].faults and not faults)
        for kill in fallen:
            kill.faults = "; ".join(faults)
        with self.record.open("a") as file:
            file.writelines(json.dumps(asdict(kill)) + "\n" for kill in fallen)
        if not faults:
            shutil.rmtree(run)
            run.with_suffix(".txt").unlink()
        return fallen

    def drawn(self, life: int, number: int, processes: int) -> Kill:
        """Draw the moment of a kill: a delay after a phase begins, or after any start."""
        if not self.aims:
            self.aims = self.random.sample(AIMS, len(AIMS))
        aim, seconds = self.aims.pop(), self.seconds[processes]
        within = seconds[aim]
        nth = 0 if aim == "any moment" else self.random.choice((1, 1, 2))
        return Kill(
            self.seed, life, number, processes, self.random.choice(WHOM[processes]),
            f"{aim} {nth or ''}".strip(), self.random.uniform(0, within), [], 0.0,
        )  # fmt: skip

    def command(
        self, arguments: Sequence[str], run: Path, kill: Kill | None
    ) -> tuple[int, Kill | None]:
        """Run a command to its end, or to its kill; return its code and the kill that fell."""
        self.marks.clear()
        output, since = run.with_suffix(".txt"), time.monotonic()
        first = torture_rank.fork(arguments, self.folder, self.marks, output)
        ended = ForkedProcess(first)
        self.groups.append(first)
        try:
            if kill is None or not self.reached(kill, run, ended):
                return ended.wait(LONGEST), None
            pids = [int(pid) for pid in self.marks.rows["pid"]]
            hit = {"rank 1": pids[1]}.get(kill.whom, first)
            try:
                if kill.whom == "group":
                    os.killpg(first, signal.SIGKILL)
                else:
                    os.kill(hit, signal.SIGKILL)
            except ProcessLookupError:  # it has just ended
                return ended.wait(LONGEST), None
            kill.seconds = round(time.monotonic() - since, 3)
            phases = [self.marks.phase(rank) for rank in range(kill.processes)]
            code = ended.wait(LONGEST)
            killed = 1 if kill.whom == "rank 1" else 0  # what it did last, to the instruction
            kill.phases = [*phases[:killed], self.marks.phase(killed), *phases[killed + 1 :]]
            if self.random.random() < 0.5:  # else it is resumed while the other one still ends
                self.forget(kill)
            return code, kill
        except subprocess.TimeoutExpired:
            os.killpg(first, signal.SIGKILL)
            ended.wait(LONGEST)
            fault = f"hung after {LONGEST:.0f} s"
            if kill is None:
                raise SystemExit(f"{run}: {fault}") from None
            kill.faults = fault
            return 1, kill

    def forget(self, kill: Kill) -> None:
        """Wait until no process of earlier commands runs."""
        while self.groups:
            if not gone(self.groups.pop(), LONGEST):
                kill.faults = "a process outlives the others"

    def reached(self, kill: Kill, run: Path, ended: ForkedProcess) -> bool:
        """Wait for the moment of a kill; return False if the run ends before it."""
        while not (run / "metrics.csv").exists():
            if ended.poll() is not None:
                return False
            time.sleep(0.001)
        if kill.whom == "rank 1":
            while not self.marks.rows["pid"][1]:
                if ended.poll() is not None:
                    return False
                time.sleep(0.001)
        aim, _, nth = kill.aim.rpartition(" ")
        if nth.isdigit():
            due = self.marks.entered(aim) + int(nth)
            while self.marks.entered(aim) < due:
                if ended.poll() is not None:
                    return False
                time.sleep(0.0005)
        until = time.monotonic() + kill.delay
        while time.monotonic() < until:
            if ended.poll() is not None:
                return False
            time.sleep(0.0005)
        return True


def gone(group: int, timeout: float) -> bool:
    """Wait until no process of a group runs, reaping orphans."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        try:
            os.waitpid(-group, os.WNOHANG)
        except ChildProcessError:
            return True
        time.sleep(0.01)
    return False
