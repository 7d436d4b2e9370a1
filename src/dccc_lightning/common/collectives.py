"""Collectives of ``torch.distributed``; in a single process each returns its input."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dccc_lightning.common.ranks import ShareDone
from dccc_lightning.errors import UserError

T = TypeVar("T")

_ROWS = 1 << 16
"""Rows of one message."""

_DONE = "dccc_lightning/done"
"""Key in the store of the process group that rank 0 sets at its end."""

_POLL_SECONDS = 0.2


def world() -> tuple[int, int]:
    """Return (rank, number of processes); (0, 1) outside a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def destroy() -> None:
    """Destroy the process group, if one is initialised."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def shard(length: int, rank: int, processes: int) -> range:
    """Return the contiguous positions of ``rank``; lengths differ by at most one.

    >>> [list(shard(5, rank, 2)) for rank in range(2)]
    [[0, 1, 2], [3, 4]]
    """
    share, rest = divmod(length, processes)
    start = rank * share + min(rank, rest)
    return range(start, start + share + (rank < rest))


def batch_shard(length: int, size: int, rank: int, processes: int) -> range:
    """Return the positions of ``rank`` in whole batches, so that batches do not depend on shares.

    >>> [list(batch_shard(5, 2, rank, 2)) for rank in range(2)]
    [[0, 1, 2, 3], [4]]
    """
    batches = shard(-(-length // size), rank, processes)
    return range(min(batches.start * size, length), min(batches.stop * size, length))


def from_first(make: Callable[[], T]) -> T:
    """Call a function on rank 0, and return its result on every process.

    Raises:
        ShareDone: It raised an error on rank 0; this is another process.
    """
    rank, processes = world()
    if processes == 1:
        return make()
    made: list[tuple[T] | None] = [None]
    try:
        if rank == 0:
            made = [(make(),)]
    finally:
        dist.broadcast_object_list(made, src=0)
    if made[0] is None:
        raise ShareDone
    return made[0][0]


def shared(work: Callable[[], T]) -> list[T] | None:
    """Do this process's share of a work.

    Returns:
        The results of all processes in the order of their ranks, on rank 0; None elsewhere.

    Raises:
        UserError: On rank 0, the error of the first process whose share failed.
        ShareDone: A share failed; this is another process.
    """
    rank, processes = world()
    if processes == 1:
        return [work()]
    result, error = None, None
    try:
        result = work()
    except UserError as failure:
        error = failure
    errors: list[UserError | None] = [None] * processes
    dist.all_gather_object(errors, error)
    failures = [found for found in errors if found is not None]
    if failures and rank == 0:
        raise failures[0]
    if failures:
        raise ShareDone
    results: list[T] | None = [None] * processes if rank == 0 else None  # type: ignore[list-item]
    dist.gather_object(result, results)
    return results


def gather_rows(local: Tensor, counts: Sequence[int]) -> Tensor:
    """Gather the rows of all processes on rank 0; elsewhere return those of this process.

    Args:
        local: (n, ...) rows of this process, on the CPU.
        counts: Numbers of rows of all processes; only rank 0 reads them.
    """
    rank, processes = world()
    if processes == 1:
        return local
    if rank > 0:
        for start in range(0, len(local), _ROWS):
            dist.send(local[start : start + _ROWS].contiguous(), 0)
        return local
    whole = local.new_empty((sum(counts), *local.shape[1:]))
    whole[: counts[0]] = local
    first = counts[0]
    for other, count in enumerate(counts[1:], 1):
        for start in range(first, first + count, _ROWS):
            dist.recv(whole[start : min(start + _ROWS, first + count)], other)
        first += count
    return whole


def barrier() -> None:
    """Wait until all processes are here."""
    if world()[1] > 1:
        dist.barrier()


def await_first() -> None:
    """Wait until rank 0 is here too, or has ended.

    srun ends a step some time after its first process has ended (WaitTime), and agents of torchrun
    wait for each other for five minutes only, while rank 0 may still write.
    """
    rank, processes = world()
    if processes == 1:
        return
    store = dist.distributed_c10d._get_default_store()
    if rank == 0:
        store.set(_DONE, "1")
        return
    with suppress(RuntimeError):  # the store has ended with rank 0
        while not store.check([_DONE]):
            time.sleep(_POLL_SECONDS)


def leave_to_first() -> None:
    """End the share of this process; rank 0 goes on.

    Raises:
        ShareDone: This is not rank 0.
    """
    if world()[0] > 0:
        raise ShareDone


def gather_shards(local: Tensor, length: int) -> Tensor:
    """Gather the rows of every process's ``shard``.

    Args:
        local: (n, ...) rows of this process.
        length: N, total number of rows.

    Returns:
        (N, ...) rows in order, the same on every process.
    """
    _, processes = world()
    if processes == 1:
        return local
    longest = -(-length // processes)
    padded = local.new_zeros((longest, *local.shape[1:]))
    padded[: len(local)] = local
    parts = [torch.empty_like(padded) for _ in range(processes)]
    dist.all_gather(parts, padded)
    return torch.cat(
        [part[: len(shard(length, rank, processes))] for rank, part in enumerate(parts)]
    )


def gather_parts(local: Tensor) -> Tensor:
    """Gather a batch that was split into A accumulation steps and blocks per process.

    Args:
        local: (A, b, ...) blocks of b rows of this process, one per accumulation step.

    Returns:
        (A * processes * b, ...) rows in the order of the batch, the same on every process.
    """
    _, processes = world()
    if processes == 1:
        return local.flatten(0, 1)
    blocks = [torch.empty_like(local) for _ in range(processes)]
    dist.all_gather(blocks, local.contiguous())
    return torch.stack(blocks, dim=1).flatten(0, 2)


def broadcast(tensor: Tensor) -> Tensor:
    """Overwrite ``tensor`` in place with rank 0's values and return it."""
    if world()[1] > 1:
        dist.broadcast(tensor, src=0)
    return tensor


def mean(tensor: Tensor) -> Tensor:
    """Return the mean of ``tensor`` over all processes."""
    _, processes = world()
    if processes == 1:
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total / processes
