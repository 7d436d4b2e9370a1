"""Loading of weights from torchvision, this package or a file."""

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
    """Result of loading weights.

    Attributes:
        loaded: Names in the embedder that were loaded.
        missing: Names in the embedder that are not in the file.
        unexpected: Names in the file that are not in the embedder, except classifier heads.
        misshapen: Names in both with different shapes, as ``name: file shape, model shape``.
        resized: Names in ``loaded`` of interpolated position embeddings.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    resized: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the numbers of tensors and examples in one line."""
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
    """Load weights into an embedder; the backbone must match completely, the neck may be missing.

    Args:
        embedder: Embedder, changed in place only if loading succeeds.
        source: ``imagenet``, ``bundled`` or the path of a file for ``read_state``, as saved by
            torchvision, timm, Lightning or the repositories of this field.
        backbone: Name of the network in torchvision or timm.

    Raises:
        UserError: The weights do not exist, cannot be downloaded or read, are not finite, or do not
            match the embedder.
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
            f"model.weights={source} does not match {backbone}: {'; '.join(problems)}; "
            "choose the model of the file, or model.weights=null"
        )
    elif broken:
        line = f"model.weights={source} contains values that are not finite: {_few(broken)}"
    else:
        embedder.load_state_dict(matched, strict=False)
        log.info("weights %s for %s: %s", source, backbone, report)
        return report
    raise UserError(" ".join(line.splitlines()))


def _match(
    embedder: nn.Module, state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], WeightsReport]:
    """Match the tensors of a file with those of the embedder by name and shape."""
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
            value = value.reshape(wanted.shape)  # GeM's power, a scalar or a vector of one
        if value.shape != wanted.shape:
            misshapen[name] = f"{name}: {tuple(value.shape)}, {tuple(wanted.shape)}"
        elif value.is_floating_point() != wanted.is_floating_point():
            misshapen[name] = f"{name}: {value.dtype}, {wanted.dtype}"
        else:
            matched[name] = value.to(wanted.dtype)
    # Files from before torch 0.4.1 lack the counters, which are not used.
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
    """Return the differences between a file and the embedder; empty if they match."""
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
