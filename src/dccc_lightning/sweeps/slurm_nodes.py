"""Resources of the nodes of a SLURM partition, as sinfo tells them."""

import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from dccc_lightning.errors import UserError

MOST_CPUS = 8
"""CPUs of a process that are asked for by default, where a node has them."""

_MEGABYTES = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


class Node(NamedTuple):
    """CPUs, GPUs and megabytes of memory of a node."""

    cpus: int
    gpus: int
    memory: int


def read_nodes(partition: str | None) -> list[Node]:
    """Return the nodes of a partition, None for the default one; empty if sinfo does not tell."""
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
    """Return the number of GPUs in SLURM's words.

    >>> _gpus("gpu:a100:4(S:0-1),gpu:t4:2,lscratch:1"), _gpus("(null)"), _gpus("gpu:2")
    (6, 0, 2)
    """
    return sum(int(n) for n in re.findall(r"(?:^|,)gpu(?::[^:,()]+)?:(\d+)", gres))


def default_cpus(nodes: Sequence[Node], tasks: int) -> int | None:
    """Return the CPUs of each of ``tasks`` processes that a node has; None if that is unknown."""
    if not nodes:
        return None
    return max(1, min(MOST_CPUS, max(node.cpus for node in nodes) // tasks))


def check_fit(
    nodes: Sequence[Node], count: int, tasks: int, cpus: int, gpus: int, memory: str | None
) -> None:
    """Refuse a job that no node of the partition can hold: it would wait for ever.

    Args:
        nodes: Of the partition; nothing is checked where there are none.
        count: Nodes of the job.
        tasks: Processes on each.
        cpus: Of each process.
        gpus: Of each node.
        memory: Of each node, as ``64GB``.

    Raises:
        UserError: One line with the setting to change.
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
            f"trainer.devices: {gpus} GPUs a node, and the nodes have at most {most.gpus}; "
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
    """Return an amount of memory in megabytes, 0 for words that SLURM has to judge."""
    match = re.fullmatch(r"([\d.]+)\s*([KMGT]?)(?:i?B)?", str(memory).strip(), re.IGNORECASE)
    return float(match[1]) * _MEGABYTES[match[2].upper() or "M"] if match else 0.0
