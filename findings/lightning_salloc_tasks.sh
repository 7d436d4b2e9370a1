#!/usr/bin/env bash
# pytorch-lightning 2.6.6
#
# In an allocation of salloc, `srun python train.py` starts a process for each task, and each has the
# variables of its task. Expected: SLURMEnvironment.detect() is True there, so that the tasks become
# the ranks of one training. What happens: False. salloc calls its job "interactive", srun hands that
# name on, and Lightning takes the name for a shell without tasks: every task starts processes of its
# own. A batch script that does not use srun is the other way round: detect() is True from the
# numbers of the allocation, although nothing will start a second task.
# SLURM_STEP_NUM_TASKS, which srun alone sets, would tell the two apart.
# Cost: two trainings of two processes each where one was asked for; or one that waits for ranks that
# never come. The variables below are those that SLURM 22.05.8 of Debian 12 sets.
#
# Seen:
#   task of srun within salloc: detected False
#   task of srun within sbatch: detected True
#   batch script without srun: detected True
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(pytorch-lightning==2.6.6 torch==2.13.0)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - <<'PY'
import os
import sys

from pytorch_lightning.plugins.environments import SLURMEnvironment

for name in [name for name in os.environ if name.startswith("SLURM_")]:
    del os.environ[name]
job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NODEID": "0"}
task = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}
cases = {
    "task of srun within salloc": {**job, **task, "SLURM_JOB_NAME": "interactive"},
    "task of srun within sbatch": {**job, **task, "SLURM_JOB_NAME": "train.sh"},
    "batch script without srun": {**job, "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
                                  "SLURM_JOB_NAME": "train.sh"},
}
seen = []
for words, variables in cases.items():
    os.environ.update(variables)
    seen.append(SLURMEnvironment.detect())
    print(f"{words}: detected {seen[-1]}")
    for name in variables:
        del os.environ[name]
if seen != [False, True, True]:
    sys.exit(f"the behaviour has changed: {seen}")
PY
