"""Resources of the nodes of a SLURM partition, from sinfo."""

import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from dccc_lightning.errors import UserError

MOST_CPUS = 8
"""Default maximum of CPUs per process."""

_MEGABYTES = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


class Node(NamedTuple):
    """CPUs, GPUs and memory in megabytes of a node."""

    cpus: int
    gpus: int
    memory: int


def read_nodes(partition: str | None) -> list[Node]:
    """Return the nodes of a partition, None for the default; empty without an answer of sinfo."""
    command = ["sinfo", "--noheader", "--Node", "--format=%P|%c|%G|%m"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = [line.strip().split("|") for line in answer.stdout.splitlines() if line.strip()]
        return [
            Node(int(cpus.rstrip("+")), _gpus(gres), int(memory.rstrip("+")))
            for name, cpus, gres, memory in rows
            if (name.rstrip("*") in partition.split(",") if partition else name.endswith("*"))
        ]
    except (OSError, subprocess.CalledProcessError, ValueError):
        return []


def _gpus(gres: str) -> int:
    """Return the number of GPUs in a SLURM ``gres`` string.

    >>> _gpus("gpu:a100:4(S:0-1),gpu:t4:2,lscratch:1"), _gpus("(null)"), _gpus("gpu:2")
    (6, 0, 2)
    """
    return sum(int(n) for n in re.findall(r"(?:^|,)gpu(?::[^:,()]+)?:(\d+)", gres))


def default_cpus(nodes: Sequence[Node], tasks: int) -> int | None:
    """Return the CPUs per process if a node runs ``tasks`` processes; None if unknown."""
    if not nodes:
        return None
    return max(1, min(MOST_CPUS, max(node.cpus for node in nodes) // tasks))


def check_fit(
    nodes: Sequence[Node], count: int, tasks: int, cpus: int, gpus: int, memory: str | None
) -> None:
    """Check that nodes of the partition can run a job, which would otherwise never start.

    Args:
        nodes: Nodes of the partition; if empty, nothing is checked.
        count: Number of nodes of the job.
        tasks: Number of processes per node.
        cpus: CPUs per process.
        gpus: GPUs per node.
        memory: Memory per node, such as ``64GB``.

    Raises:
        UserError: A resource exceeds the nodes; the message names the setting to change.
    """
    if not nodes:
        return
    most = Node(*(max(values) for values in zip(*nodes, strict=True)))
    if tasks * cpus > most.cpus:
        fitting = f"hydra.launcher.cpus={most.cpus // tasks}" if most.cpus >= tasks else ""
        raise UserError(
            f"hydra.launcher.cpus={cpus}: {tasks} x {cpus} CPUs, and the nodes have at most "
            f"{most.cpus}; {fitting or 'fewer trainer.devices'}, or hydra.launcher.partition="
        )
    if gpus > most.gpus:
        raise UserError(
            f"trainer.devices: {gpus} GPUs per node, and the nodes have at most {most.gpus}; "
            "trainer=cpu, fewer trainer.devices, or hydra.launcher.partition="
        )
    if count > len(nodes):
        raise UserError(
            f"trainer.num_nodes={count}: the partition has {len(nodes)}; "
            f"trainer.num_nodes={len(nodes)}, or hydra.launcher.partition="
        )
    if memory is not None and (wanted := _megabytes(memory)) > most.memory:
        raise UserError(
            f"hydra.launcher.memory={memory}: {wanted:,.0f} MB, and the nodes have at most "
            f"{most.memory:,}; hydra.launcher.memory={most.memory}MB, or null"
        )


def _megabytes(memory: str) -> float:
    """Return an amount of memory in megabytes; 0 for formats that only SLURM can parse."""
    match = re.fullmatch(r"([\d.]+)\s*([KMGT]?)(?:i?B)?", str(memory).strip(), re.IGNORECASE)
    return float(match[1]) * _MEGABYTES[match[2].upper() or "M"] if match else 0.0
