"""Weights from torchvision, from this package or from a file, with a report of what fitted."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from torch import Tensor, nn

from dccc_lightning.errors import UserError
from dccc_lightning.models.naming import is_expected, own_name, part
from dccc_lightning.models.position_grid import PositionGrid, resize_positions
from dccc_lightning.models.pretrained import imagenet_state
from dccc_lightning.models.state_files import read_state

log = logging.getLogger(__name__)

BUNDLED = "resnet10_synthetic.pt"


@dataclass(frozen=True)
class WeightsReport:
    """What became of the tensors of a file.

    Attributes:
        loaded: Names in the embedder that were filled.
        missing: Names in the embedder that the file lacks.
        unexpected: Names in the file that the embedder lacks (classifier heads are not counted).
        misshapen: Names in both with different shapes, as ``name: file shape, model shape``.
        resized: Names in ``loaded`` whose values were interpolated: position embeddings.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    resized: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in one line."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        for what, names in (
            ("new", self.missing),
            ("unused", self.unexpected),
            ("other shape", self.misshapen),
            ("resized", self.resized),
        ):
            if names:
                parts.append(f"{len(names)} {what} ({_few(names)})")
        return ", ".join(parts)


def load_weights(embedder: nn.Module, source: str, backbone: str) -> WeightsReport:
    """Fill ``embedder`` from ``source``; the whole backbone must fit, the neck may be new.

    Args:
        embedder: Filled in place, or not at all.
        source: ``imagenet``, ``bundled`` or the path of a file that ``state_files`` can read, as
            torchvision, timm, Lightning or the repositories of this field save it.
        backbone: The name under which torchvision or timm know the network.

    Raises:
        UserError: Nothing under that name, no network, not a state dict, values that are not
            finite, or keys that do not fit.
    """
    if source == "imagenet":
        state = imagenet_state(backbone)
    elif source == "bundled":
        state = read_state(Path(str(resources.files("dccc_lightning") / "weights" / BUNDLED)))
    else:
        state = read_state(Path(source).expanduser())
    matched, report = _match(embedder, state)
    problems = _problems(embedder, report)
    broken = [name for name, value in matched.items() if not value.isfinite().all()]
    if problems:
        line = (
            f"model.weights={source} does not fit {backbone}: {'; '.join(problems)}; "
            "choose the model that the file was made with, or model.weights=null"
        )
    elif broken:
        line = f"model.weights={source} holds values that are not finite: {_few(broken)}"
    else:
        embedder.load_state_dict(matched, strict=False)
        log.info("weights %s for %s: %s", source, backbone, report)
        return report
    raise UserError(" ".join(line.splitlines()))


def _match(
    embedder: nn.Module, state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], WeightsReport]:
    """Find the embedder's names and shapes in ``state``."""
    own: dict[str, Tensor] = embedder.state_dict()
    grid: PositionGrid | None = getattr(embedder.get_submodule("backbone"), "positions", None)
    matched: dict[str, Tensor] = {}
    misshapen: dict[str, str] = {}
    unexpected, resized = [], []
    for key, given in state.items():
        name = own_name(key, own)
        if name is None:
            if not is_expected(key):
                unexpected.append(key)
            continue
        value, wanted = given, own[name]
        if value.shape != wanted.shape and name.endswith(".pos_embed") and grid is not None:
            interpolated = resize_positions(value, grid)
            if interpolated is not None and interpolated.shape == wanted.shape:
                value = interpolated
                resized.append(name)
        if value.numel() == wanted.numel() == 1:
            value = value.reshape(wanted.shape)  # GeM's power: a number, or a list of one
        if value.shape != wanted.shape:
            misshapen[name] = f"{name}: {tuple(value.shape)}, {tuple(wanted.shape)}"
        elif value.is_floating_point() != wanted.is_floating_point():
            misshapen[name] = f"{name}: {value.dtype}, {wanted.dtype}"
        else:
            matched[name] = value.to(wanted.dtype)
    # Files from before torch 0.4.1 lack the counters, which nothing here reads.
    found = matched.keys() | misshapen.keys()
    missing = [n for n in own if n not in found and not n.endswith("num_batches_tracked")]
    return matched, WeightsReport(
        tuple(matched),
        tuple(missing),
        tuple(unexpected),
        tuple(misshapen.values()),
        tuple(resized),
    )


def _problems(embedder: nn.Module, report: WeightsReport) -> list[str]:
    """Say why the tensors of a file are not those of the embedder; nothing if they are."""
    parts = {part(name) for name in embedder.state_dict() if name.startswith("backbone.")}
    unfit = [name for name in report.missing if name.startswith("backbone.")]
    surplus = [key for key in report.unexpected if part(key) in parts]  # of a deeper network
    if not (unfit or surplus or report.misshapen):
        return []
    problems = [f"{len(report.loaded)} tensors fit"]
    for what, names in (
        ("missing", unfit),
        ("other shapes", report.misshapen),
        ("not in the model", surplus or report.unexpected),
    ):
        if names:
            problems.append(f"{what} {_few(names)}")
    return problems


def _few(names: Sequence[str], limit: int = 4, longest: int = 100) -> str:
    shown = [name if len(name) <= longest else f"{name[:longest]}..." for name in names[:limit]]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown) + more
