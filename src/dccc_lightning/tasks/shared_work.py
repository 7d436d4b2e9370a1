"""Tasks whose images several processes embed, each a share; rank 0 does the rest."""

from collections.abc import Iterator
from contextlib import contextmanager

from dccc_lightning.common.ranks import started_by_srun, started_by_torchrun
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.config.processes import check_devices, embedding_processes
from dccc_lightning.errors import UserError

SHARED = ("calibrate", "embed", "evaluate", "identify", "index", "search")
"""Tasks that share the embedding of their images."""

_TRAINING = ("train", "pretrain")
_TASK = "dccc_lightning.tasks."


@contextmanager
def processes_of_task(settings: Settings) -> Iterator[None]:
    """Start the processes of ``trainer`` for a task that shares work, except a training's.

    Raises:
        UserError: torchrun or srun has started several processes for a task that has no work for
            them, or the machine has fewer devices.
    """
    target = str(settings["task"]["_target_"])
    name = target.rpartition(".")[2]
    started = started_by_torchrun() or started_by_srun() or 1
    if started > 1 and name in (*SHARED, *_TRAINING):
        check_devices(settings["trainer"])
        from dccc_lightning.common import collectives, rendezvous

        rendezvous.meet()
    if target == f"{_TASK}{name}.{name}" and name in SHARED:
        with embedding_processes(settings["trainer"]):
            yield
        return
    if started > 1 and target.startswith(_TASK) and name not in _TRAINING:
        raise UserError(
            f"task={name}: has no work for {started} processes; start one, without torchrun or "
            "with srun --ntasks=1"
        )
    yield
    if started > 1:
        collectives.await_first()
