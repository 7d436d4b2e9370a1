"""Program that started the processes of a run: srun, torchrun, a command per node, or Lightning."""

import os
from typing import Any

from dccc_lightning.common.ranks import started_by_srun, started_by_torchrun
from dccc_lightning.errors import UserError


def check_started(processes: int, nodes: int) -> None:
    """Check the numbers of processes and nodes that were started, which would wait for others.

    Raises:
        UserError: srun or torchrun has started other numbers, or nothing starts the other nodes.
    """
    launched, tasks = started_by_torchrun(), started_by_srun()
    if launched is not None:
        if launched != processes:
            raise UserError(
                f"torchrun has started {launched} processes, and trainer.devices="
                f"{processes // nodes} trainer.num_nodes={nodes} are {processes}; give "
                "--nproc-per-node and --nnodes"
            )
        return
    if tasks is None:
        if nodes > 1 and "NODE_RANK" not in os.environ:
            raise UserError(
                f"trainer.num_nodes={nodes}: nothing has started processes on several nodes; use "
                "srun, torchrun, or NODE_RANK and MASTER_ADDR on each node"
            )
        return
    started_on = int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
    if (tasks, started_on) != (processes, nodes):
        raise UserError(
            f"srun has started {tasks} processes on {started_on} nodes, and the run has "
            f"{processes} on {nodes}; make --ntasks-per-node equal to trainer.devices, and "
            "--nodes to trainer.num_nodes"
        )


def process_environment(processes: int, nodes: int) -> list[Any]:
    """Return Lightning's environment of checked numbers of processes, empty for its own choice.

    Lightning goes by the job's number of tasks, which is set without srun too, and by the job's
    name, which in an allocation of salloc hides srun.
    """
    from lightning_fabric.plugins.environments import lightning, slurm  # noqa: PLC0415  slow

    if started_by_torchrun() is not None or "SLURM_NTASKS" not in os.environ:
        return []
    if started_by_srun() is None:
        return [lightning.LightningEnvironment()]
    os.environ["SLURM_NTASKS_PER_NODE"] = str(processes // nodes)  # not set by srun -n 2
    return [slurm.SLURMEnvironment(auto_requeue=False)]  # RunCheckpoint requeues
