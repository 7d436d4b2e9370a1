"""A cluster of one machine: sbatch, srun, sacct, squeue, sinfo, scancel and scontrol.

The first argument says which of them is called. What they share lies in ``STAND_IN_SLURM``: a
folder a job, with the states that it has gone through. Where there is a file ``held`` in it, jobs
are not started. A file ``forgotten`` makes sacct and squeue forget jobs that have ended, a file
``no_end`` loses their end for sacct, and with ``down`` squeue finds no controller. A file
``recorded`` in the folder of a job has the state of an earlier attempt, for sacct.
"""

import itertools
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ.get("STAND_IN_SLURM", "."))


def options(script):
    lines = re.findall(r"(?m)^#SBATCH --([\w-]+)(?:=(.*))?$", script)
    return {name: shlex.split(value)[0] if value else True for name, value in lines}


def job_folder(job):
    return HOME / job


def note(job, state):
    with (job_folder(job) / "states").open("a") as states:
        states.write(f"{state}\n")


def sbatch(path):
    script = Path(path).read_text()
    number = str(100 + len(list(HOME.glob("script_*"))))
    (HOME / f"script_{number}").write_text(script)
    array = options(script).get("array")
    last = int(re.match(r"0-(\d+)", array)[1]) if array else 0
    jobs = [f"{number}_{index}" for index in range(last + 1)] if array else [number]
    for job in jobs:
        job_folder(job).mkdir()
        note(job, "PENDING")
        if (HOME / "held").exists():
            continue
        process = subprocess.Popen(
            [sys.executable, __file__, "batch", number, job], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        (job_folder(job) / "group").write_text(str(process.pid))
    print(f"Submitted batch job {number}")


def batch(number, job):
    """Run a job, again for as long as it asks for it."""
    script = HOME / f"script_{number}"
    given = options(script.read_text())
    _, _, index = job.partition("_")
    tasks = {"SLURM_NTASKS": given["ntasks-per-node"], "SLURM_JOB_NUM_NODES": given["nodes"]}
    array = {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index} if index else {}
    own = str(int(number) + int(index or 0) * 1000)  # SLURM gives each job of an array one
    names = {"SLURM_JOB_ID": own, "SLURM_JOB_NAME": "sweep"}
    again = job_folder(job) / "again"
    while True:
        note(job, "RUNNING")
        code = subprocess.run(
            ["bash", script], env={**os.environ, **names, **tasks, **array}, check=False
        ).returncode
        if not again.exists():
            break
        again.unlink()
        note(job, "PENDING")
    note(job, "FAILED" if code else "COMPLETED")


def srun(*arguments):
    (pattern,) = (b for a, b in itertools.pairwise(arguments) if a == "--output")
    command = arguments[arguments.index(sys.executable) :]
    job = os.environ["SLURM_JOB_ID"]
    for mark, name in (("%A", "SLURM_ARRAY_JOB_ID"), ("%a", "SLURM_ARRAY_TASK_ID")):
        pattern = pattern.replace(mark, os.environ.get(name, ""))
    count = int(os.environ["SLURM_NTASKS"])
    tasks = []
    for rank in range(count):
        with Path(pattern.replace("%j", job).replace("%t", str(rank))).open("ab") as log:
            tasks.append(subprocess.Popen(command, stdout=log, stderr=log))
    while any(task.poll() is None for task in tasks):
        if any(task.poll() for task in tasks):  # --kill-on-bad-exit
            for task in tasks:
                task.kill()
        time.sleep(0.05)
    sys.exit(max(abs(task.returncode) for task in tasks))


def sacct(*arguments):
    print("JobID|State|NodeList")
    for states in sorted(HOME.glob("*/states")):
        earlier = states.with_name("recorded")
        state = (earlier if earlier.exists() else states).read_text().splitlines()[-1]
        if state not in ("PENDING", "RUNNING"):
            if (HOME / "forgotten").exists():
                continue
            state = "RUNNING" if (HOME / "no_end").exists() else state
        print(f"{states.parent.name}|{state}|here")


def squeue(*arguments):
    if (HOME / "down").exists():
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    lines = [states.read_text().splitlines()[-1] for states in HOME.glob("*/states")]
    if (HOME / "forgotten").exists() and not {"PENDING", "RUNNING"} & set(lines):
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    for states in sorted(HOME.glob("*/states")):
        state = states.read_text().splitlines()[-1]
        note = states.with_name("reason")
        reason = note.read_text() if note.exists() else "None"
        if state in ("PENDING", "RUNNING"):
            print(f"{states.parent.name}|{state}|{reason}")


def sinfo(*arguments):
    nodes = HOME / "nodes"
    usual = "main*|16|gpu:a100:8|500000\na100|16|gpu:8|500000"
    print(nodes.read_text() if nodes.exists() else usual)


def scontrol(verb, job):
    assert verb == "requeue"
    (job_folder(job) / "again").touch()


def scancel(job):
    note(job, "CANCELLED by 1000")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
