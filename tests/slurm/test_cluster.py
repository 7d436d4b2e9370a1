"""The documented ways through SLURM, on a real one of two nodes that cluster.sh starts.

Commands and scripts are taken from the pages, with a tiny world in place of dataset and GPUs.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from conftest import Command
from documents import PAGES, commands, package_arguments
from environment import with_modules

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]  # on a machine that is busy

SCRIPT = Path(__file__).with_name("cluster.sh")
CANNOT_START = 77
LENGTH = ["iterations=20", "checkpoint.every_n_steps=5"]
NAPS = ["+callbacks.naps._target_=rank_notes.Naps", "+callbacks.naps.seconds=3"]
LATE = ["+callbacks.late._target_=rank_notes.LatePage", "+callbacks.late.seconds=14"]
SMALL_JOB = {"--gres=gpu:4 ": "", "--cpus-per-task=8": "--cpus-per-task=1"}
GPU_DATA = "dataset=msmt17 dataset.root=DATA trainer=gpu"


class Slurm(NamedTuple):
    """A running cluster: its folder, and the variables of its users."""

    folder: Path
    variables: dict[str, str]

    def run(self, *command: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command of a user in the cluster's folder."""
        return subprocess.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip

    def ask(self, *command: str) -> list[list[str]]:
        """Return the rows of an answer of SLURM, split at ``|``."""
        answer = self.run(*command)
        assert answer.returncode == 0, answer
        return [line.split("|") for line in answer.stdout.splitlines()]

    def submit(self, script: str, name: str) -> str:
        """Submit a script, with its output in ``NAME.log``, and return the job's number."""
        file = self.folder / f"{name}.sh"
        file.write_text(script)
        return self.ask("sbatch", "--parsable", f"--output={name}.log", file.name)[0][0]

    def attempts(self, job: str) -> list[list[str]]:
        """Return state, exit code, node, start and end of each attempt of a job."""
        fields = "--format=State,ExitCode,NodeList,Start,End"
        return self.ask("sacct", "-X", "-n", "-P", "--duplicates", fields, f"--jobs={job}")

    def ended(self, job: str) -> list[list[str]]:
        """Wait for the end of a job and return its attempts."""
        wait_until(lambda: not self.queue(job))
        wait_until(lambda: not {"PENDING", "RUNNING"} & {row[0] for row in self.attempts(job)})
        return self.attempts(job)

    def queue(self, job: str | None = None) -> list[list[str]]:
        """Return number, state and node of the jobs in the queue."""
        chosen = [f"--jobs={job}"] if job else []
        answer = self.run("squeue", "--noheader", "--array", "--format=%i|%T|%N", *chosen)
        return [line.split("|") for line in answer.stdout.splitlines()]


def wait_until(is_done: Callable[[], object], seconds: float = 500) -> None:
    until = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < until
        time.sleep(0.3)


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    pytest.importorskip("submitit")
    folder = Path(tempfile.mkdtemp(prefix="slurm-of-tests-"))
    try:
        started = subprocess.run(
            [SCRIPT, "start", folder], capture_output=True, text=True, timeout=500, check=False
        )
        if started.returncode == CANNOT_START:
            pytest.skip(f"SLURM cannot start here: {started.stdout.strip()}")
        assert started.returncode == 0, started.stderr
        lines = (folder / "environment").read_text().splitlines()
        given = dict(line.split("=", 1) for line in lines)
        path = [str(Path(sys.executable).parent), given.pop("PROGRAMS"), os.environ["PATH"]]
        runs = folder / "runs"
        runs.mkdir()
        yield Slurm(runs, with_modules(SCRIPT.parents[1], PATH=os.pathsep.join(path), **given))
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True, timeout=200)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def small(tiny: list[str]) -> list[str]:
    return [*tiny, *LENGTH]


@pytest.fixture
def launcher(command: Command, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return the command line in this process, as a user of the cluster, with short waits."""
    from dccc_lightning.sweeps import slurm_launcher

    for name, value in slurm.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slurm_launcher, "POLL_SECONDS", 0.5)
    return command


def replaced(text: str, values: dict[str, str]) -> str:
    """Replace words of a page, all of which must be there."""
    for old, new in values.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def script(page: str, word: str) -> str:
    """Return the script for sbatch on a page that contains a word."""
    (found,) = (code for code in re.findall(r"(?ms)^```\n(#!.*?)^```", PAGES[page]) if word in code)
    return found


def command_with(page: str, word: str) -> str:
    """Return the command of a page that contains a word."""
    (found,) = {one for one in commands(PAGES[page]) if word in one}
    return found


def same_run(one: Path, other: Path) -> bool:
    """Return True if metrics.csv and the last weights have the same bytes."""
    weights = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (one, other)
    ]
    assert weights[0].keys() == weights[1].keys()
    return (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes() and all(
        torch.equal(value, weights[1][name]) for name, value in weights[0].items()
    )


# One job


def test_the_pages_have_the_same_script() -> None:
    assert script("docs/howto.md", "trainer.devices") == script(
        "docs/running.md", "trainer.devices"
    )


def seed_folder(slurm: Slurm, seed: int) -> Path:
    return slurm.folder / "seeds" / str(seed)


@pytest.fixture(scope="module")
def seeds(slurm: Slurm, small: list[str]) -> str:
    """Submit an array of two seeds, and return its number."""
    values = {
        **SMALL_JOB, "--array=0-4": "--array=0-1", "--gres=gpu:1 ": "", "FOLDER": "seeds",
        GPU_DATA: " ".join(small),
    }  # fmt: skip
    values.pop("--gres=gpu:4 ")
    return slurm.submit(replaced(script("docs/running.md", "--array"), values), "seeds")


def test_seeds_are_an_array(slurm: Slurm, seeds: str) -> None:
    assert [row[:2] for row in slurm.ended(seeds)] == [["COMPLETED", "0:0"]] * 2
    assert not same_run(seed_folder(slurm, 0), seed_folder(slurm, 1))
    rows = slurm.run("python", *package_arguments_of(f"runs folder={slurm.folder / 'seeds'}"))
    assert rows.returncode == 0, rows
    assert rows.stdout.count("finished") == 2


def package_arguments_of(arguments: str) -> list[str]:
    return ["-m", "dccc_lightning", *shlex.split(arguments)]


def srun(slurm: Slurm, small: list[str], nodes: int, each: int, name: str) -> Path:
    """Run the documented command in an allocation of salloc, and check that it ended cleanly."""
    values = {
        "num_nodes=2": f"num_nodes={nodes}", "devices=4": f"devices={each}", "FOLDER": name,
    }  # fmt: skip
    line = replaced(command_with("docs/running.md", "srun python"), values)
    allocation = ["salloc", f"--nodes={nodes}", f"--ntasks-per-node={each}"]
    done = slurm.run(*allocation, *shlex.split(line), *small, seconds=300)
    assert done.returncode == 0, done
    assert done.stdout.count("outputs:") == 1
    assert not re.search("error|Traceback|fatal", done.stderr), done.stderr
    found = re.search(r"Granted job allocation (\d+)", done.stderr)
    assert found
    assert [row[:2] for row in slurm.ended(found[1])] == [["COMPLETED", "0:0"]]
    return slurm.folder / name


@pytest.fixture(scope="module")
def pair(slurm: Slurm, small: list[str]) -> Path:
    """Return an uninterrupted run of two processes, one of which writes longer than WaitTime."""
    return srun(slurm, [*small, *LATE], nodes=1, each=2, name="pair")


def test_srun_on_two_nodes_gives_the_run_of_one_node(
    slurm: Slurm, small: list[str], pair: Path
) -> None:
    assert same_run(srun(slurm, small, nodes=2, each=1, name="nodes"), pair)


def test_other_numbers_than_those_of_srun_are_refused(slurm: Slurm, small: list[str]) -> None:
    line = "srun --ntasks=2 python -m dccc_lightning output=refused"
    done = slurm.run(*shlex.split(line), *small, seconds=200)
    assert done.returncode == 2, done
    assert "srun has started 2 processes on 1 nodes" in done.stderr
    assert not (slurm.folder / "refused").exists()


def test_without_srun_a_job_starts_its_processes(
    slurm: Slurm, small: list[str], pair: Path
) -> None:
    line = "salloc --ntasks-per-node=2 python -m dccc_lightning trainer.devices=2 output=alone"
    done = slurm.run(*shlex.split(line), *small, seconds=300)
    assert done.returncode == 0, done
    assert same_run(slurm.folder / "alone", pair)


def test_a_job_at_its_time_limit_is_requeued_and_ends_like_an_uninterrupted_one(
    slurm: Slurm, small: list[str], pair: Path
) -> None:
    """The limit is lowered once the run has begun, so that a slow start is not too late."""
    values = {
        **SMALL_JOB, "--ntasks-per-node=4": "--ntasks-per-node=2", "USR1@120": "USR1@60",
        GPU_DATA: " ".join([*small, *NAPS]), "trainer.devices=4": "trainer.devices=2",
        "FOLDER": "limited",
    }  # fmt: skip
    text = replaced(script("docs/running.md", "trainer.devices"), values)
    job = slurm.submit(text, "limited")

    def limit(minutes: int) -> bool:
        change = ("scontrol", "update", f"jobid={job}", f"timelimit={minutes}")
        return slurm.run(*change).returncode == 0

    log = slurm.folder / "limited.log"
    wait_until((slurm.folder / "limited" / "checkpoints" / "last.ckpt").exists)
    ((elapsed,),) = slurm.ask("squeue", "--noheader", "--format=%M", f"--jobs={job}")
    assert limit(int(elapsed.split(":")[-2]) + 2)
    wait_until(lambda: "stopped by SIGUSR1; resume=" in log.read_text())
    wait_until(lambda: limit(240))
    *stopped, last = slurm.ended(job)
    assert len(stopped) == 1
    assert last[:2] == ["COMPLETED", "0:0"]
    assert same_run(slurm.folder / "limited", pair)


# The launcher


def sweep(small: list[str], *arguments: str) -> list[str]:
    """Return the arguments of the documented sweep, with other jobs."""
    line = command_with("docs/sweeps.md", "hydra/launcher=slurm")
    values = {"sweep=dcps_grid ": "", "PARTITION": "main", "devices=4": "devices=1"}
    given = package_arguments(replaced(line, values))
    assert given is not None
    return [*given, *small, "hydra.launcher.cpus=1", *arguments]


def test_jobs_run_two_at_a_time_and_one_fails(
    launcher: Command, slurm: Slurm, small: list[str], seeds: str, tmp_path: Path
) -> None:
    slurm.ended(seeds)
    done = launcher(*sweep(small, "seed=0,1,-1", "hydra.launcher.at_once=2"))
    assert done.code == 2, done
    assert "job 3: pending (JobArrayTaskLimit)" in done.out
    assert re.search("job 3 of 3 failed: .*seed must be at least 0", done.err), done
    folder = tmp_path / "sweeps" / "grid"
    assert "seed must be" in (folder / "2" / "error.txt").read_text()
    for number in (0, 1):
        assert f"job {number + 1} of 3 done" in done.out
        assert same_run(folder / str(number), seed_folder(slurm, number))
    array = (folder / "logs" / "0.slurm").read_text().partition("_")[0]
    starts, ends = zip(*sorted(row[3:5] for row in slurm.ended(array)), strict=True)
    assert max(starts[:2]) < min(ends[:2])
    assert starts[2] >= min(ends[:2])


def start_sweep(slurm: Slurm, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a sweep as its user does, with what it prints in ``printed.txt``."""
    with (folder / "printed.txt").open("w") as printed:
        # what runs in the background of a script ignores Ctrl-C, and hands that on
        words = ["env", "--default-signal=INT", sys.executable, "-m", "dccc_lightning"]
        return subprocess.Popen(
            [*words, *arguments], cwd=folder, env=slurm.variables,
            stdout=printed, stderr=printed, text=True,
        )  # fmt: skip


def test_a_job_that_never_starts_is_told(slurm: Slurm, small: list[str], tmp_path: Path) -> None:
    process = start_sweep(slurm, tmp_path, *sweep(small, "seed=0", "hydra.launcher.minutes=9999"))
    printed = tmp_path / "printed.txt"
    wait_until(lambda: "PartitionTimeLimit" in printed.read_text())
    assert "the job never starts; cancel it by Ctrl-C" in printed.read_text()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    number = (tmp_path / "sweeps" / "grid" / "logs" / "0.slurm").read_text()
    assert slurm.ended(number)[0][0].startswith("CANCELLED")


def test_ctrl_c_ends_the_jobs_and_the_command_continues_them(
    launcher: Command, slurm: Slurm, small: list[str], pair: Path, tmp_path: Path
) -> None:
    arguments = sweep(small, *NAPS, "seed=0", "trainer.num_nodes=2")
    process = start_sweep(slurm, tmp_path, *arguments)
    folder = tmp_path / "sweeps" / "grid"
    wait_until((folder / "0" / "checkpoints" / "last.ckpt").exists)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    number = (folder / "logs" / "0.slurm").read_text()
    ((state, *_),) = slurm.ended(number)
    assert state.startswith("CANCELLED")
    log = (folder / "logs" / f"{number}_0_log.out").read_text()
    assert "stopped by SIGTERM; resume=" in log
    done = launcher(*arguments)
    assert done.code == 0, done
    assert same_run(folder / "0", pair)


def test_a_sweep_goes_on_when_a_node_goes_down(
    launcher: Command, slurm: Slurm, small: list[str], seeds: str, tmp_path: Path
) -> None:
    folder, down = tmp_path / "sweeps" / "grid", []

    def fail_node() -> None:
        wait_until((folder / "0" / "checkpoints" / "last.ckpt").exists)
        number = (folder / "logs" / "0.slurm").read_text()
        ((_, _, node),) = slurm.queue(number)
        down.append(node)
        slurm.ask("scontrol", "update", f"nodename={node}", "state=DOWN", "reason=test")

    failure = threading.Thread(target=fail_node)
    failure.start()
    done = launcher(*sweep(small, *NAPS, "seed=0"))
    failure.join(10)
    slurm.ask("scontrol", "update", f"nodename={down[0]}", "state=RESUME")
    assert done.code == 0, done
    assert "job 1 of 1 done" in done.out
    first, last = slurm.ended((folder / "logs" / "0.slurm").read_text())
    assert (first[0], first[2]) == ("NODE_FAIL", down[0])
    assert last[0] == "COMPLETED"
    assert last[2] != down[0]
    slurm.ended(seeds)
    assert same_run(folder / "0", seed_folder(slurm, 0))
