"""Program that started the training processes, for Lightning's choice of their environment."""

import os

from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
)

from dccc_lightning.common.ranks import started_by_srun
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.errors import UserError


def process_environment(arguments: Settings, processes: int) -> list[ClusterEnvironment]:
    """Return the environment of the processes, empty for Lightning's choice.

    Lightning goes by the job's number of tasks, which is set without srun too, and by the job's
    name, which in an allocation of salloc hides srun.

    Args:
        arguments: Settings ``trainer``.
        processes: Number of processes of the run.

    Raises:
        UserError: Other numbers of processes or nodes were started, or other nodes never will be.
    """
    nodes = int(arguments["num_nodes"])
    tasks = started_by_srun()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return []
    if tasks is None:
        if nodes > 1 and "NODE_RANK" not in os.environ:
            raise UserError(
                f"trainer.num_nodes={nodes}: nothing has started processes on several nodes; use "
                "srun, torchrun, or NODE_RANK and MASTER_ADDR on each node"
            )
        return [LightningEnvironment()] if "SLURM_NTASKS" in os.environ else []
    started_on = int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
    if (tasks, started_on) != (processes, nodes):
        raise UserError(
            f"srun has started {tasks} processes on {started_on} nodes, and the run has "
            f"{processes} on {nodes}; make --ntasks-per-node equal to trainer.devices, and "
            "--nodes to trainer.num_nodes"
        )
    os.environ["SLURM_NTASKS_PER_NODE"] = str(processes // nodes)  # not set by srun -n 2
    return [SLURMEnvironment(auto_requeue=False)]  # RunCheckpoint requeues
