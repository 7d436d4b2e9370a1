"""Collectives of ``torch.distributed``; in a single process each returns its input."""

import torch
import torch.distributed as dist
from torch import Tensor


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
