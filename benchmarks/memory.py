"""The memory's update and the loss of a step against plain loops over clusters and images.

    python benchmarks/memory.py                     # 16 x 16 x 2048, 700 clusters, on the CPU
    python benchmarks/memory.py --device cuda

Both sides use torch on the same device and the same tensors; the fastest of many steps counts, and
a GPU is waited for at the end of each.
"""

import argparse
import os
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dccc_lightning.losses import SoftContrastiveLoss
from dccc_lightning.memory import RULES, ClusterMemory

SMOOTHING = 0.3
MOMENTUM = 0.1
TAU_W = 0.03
TEMPERATURE = 0.05


def plain_update(centroids: Tensor, x: Tensor, labels: Tensor, rule: str) -> Tensor:
    """One cluster after another, as the definition reads."""
    centroids, x = centroids.clone(), F.normalize(x, dim=1)
    for cluster in labels.unique().tolist():
        old, members = centroids[cluster], x[labels == cluster]
        if rule == "instance":
            for member in members:
                old = F.normalize(MOMENTUM * old + (1 - MOMENTUM) * member, dim=0)
            centroids[cluster] = old
            continue
        cosines = members @ old
        if rule == "dycl":
            new = (-cosines / TAU_W).softmax(dim=0) @ members
        elif rule == "mean":
            new = members.mean(dim=0)
        else:
            new = members[cosines.argmin()]
        centroids[cluster] = F.normalize(MOMENTUM * old + (1 - MOMENTUM) * new, dim=0)
    return centroids


def plain_loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """L_ss, one image after another."""
    total = student.new_zeros(())
    for own, other, label in zip(student, teacher, labels, strict=True):
        target = SMOOTHING * other.detach().softmax(dim=0)
        target[label] += 1 - SMOOTHING
        total = total - (target * own.log_softmax(dim=0)).sum()
    return total / len(student)


def milliseconds(step: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Time of the fastest step."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters-in-batch", type=int, default=16)
    parser.add_argument("--instances", type=int, default=16)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--clusters", type=int, default=700)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = options.device

    size = options.clusters_in_batch * options.instances
    labels = torch.randperm(options.clusters)[: options.clusters_in_batch]
    labels = labels.repeat_interleave(options.instances).to(device)
    centers = F.normalize(torch.randn(options.clusters, options.dim), dim=1)
    student = (centers[labels.cpu()] + 0.03 * torch.randn(size, options.dim)).to(device)
    teacher = student + 0.01 * torch.randn_like(student)
    print(
        f"B = {options.clusters_in_batch} x {options.instances}, D = {options.dim}, "
        f"C = {options.clusters}, {device}, {options.threads} threads on {os.cpu_count()} CPU "
        f"cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'':16}{'ours':>12}{'plain loop':>14}{'ratio':>10}   largest difference")

    def report(
        name: str, ours: Callable[[], object], plain: Callable[[], object], gap: float
    ) -> None:
        fast, slow = (milliseconds(step, options.repeats, device) for step in (ours, plain))
        print(f"{name:16}{fast:9.3f} ms{slow:11.3f} ms{slow / fast:8.1f} x   {gap:.1e}")

    for rule in RULES:
        memory = ClusterMemory(options.dim, MOMENTUM, TEMPERATURE, rule, TAU_W)
        memory.rebuild(centers, torch.arange(options.clusters))
        memory.to(device)
        before = memory.centroids
        expected = plain_update(before, student, labels, rule)
        memory.update(student, labels)
        gap = (memory.centroids - expected).abs().max().item()
        report(
            f"update {rule}",
            lambda memory=memory: memory.update(student, labels),
            lambda rule=rule, before=before: plain_update(before, student, labels, rule),
            gap,
        )

    loss = SoftContrastiveLoss(SMOOTHING)
    logits = [
        (F.normalize(part, dim=1) @ centers.to(device).T / TEMPERATURE).requires_grad_()
        for part in (student, teacher)
    ]

    def gradient(function: Callable[..., Tensor]) -> Tensor:
        return torch.autograd.grad(function(*logits, labels), logits[0])[0]

    value = abs(loss(*logits, labels) - plain_loss(*logits, labels)).item()
    slope = (gradient(loss) - gradient(plain_loss)).abs().max().item()
    report(
        "L_ss, backward",
        lambda: gradient(loss),
        lambda: gradient(plain_loss),
        max(value, slope),
    )


if __name__ == "__main__":
    main()
