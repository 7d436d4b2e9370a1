"""Loading of weights from torchvision, this package or a file."""

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dccc_lightning.errors import UserError
from dccc_lightning.models.arrangement import arrangement
from dccc_lightning.models.catalog import MOBILE, TIMM
from dccc_lightning.models.dialects.architectures import backbone_settings, named
from dccc_lightning.models.dialects.classifiers import classifiers
from dccc_lightning.models.dialects.clip_reid import OPENAI_CLIP
from dccc_lightning.models.dialects.reading import Reading, read_dialect
from dccc_lightning.models.layout import Layout
from dccc_lightning.models.naming import own_name, part
from dccc_lightning.models.network import Embedder
from dccc_lightning.models.position_grid import PositionGrid, grid_of, resize_positions
from dccc_lightning.models.pretrained import clip_state, imagenet_state
from dccc_lightning.models.state_files import StateFile, read_state
from dccc_lightning.models.stated_size import bundled_file, size_of
from dccc_lightning.models.timm_trunk import timm_image_size, timm_layout
from dccc_lightning.models.weight_formats import few

log = logging.getLogger(__name__)

_SHOWN = 4
"""Number of names that a message lists."""


@dataclass(frozen=True)
class WeightsReport:
    """Result of loading weights.

    Attributes:
        loaded: Names in the embedder that were loaded.
        missing: Names in the embedder that are not in the file.
        unexpected: Names in the file that are not in the embedder, except classifiers.
        misshapen: Names in both with different shapes, as ``name: file shape, model shape``.
        resized: Names in ``loaded`` of interpolated position embeddings.
        family: Family of the file.
        built: Options of the network that the file's family requires.
        left_out: Parts of the file that do not affect its embeddings.
        note: Remark on the family.
        image_size: Height and width of its images, if anything states them.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    resized: tuple[str, ...] = ()
    family: str = ""
    built: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    note: str = ""
    image_size: tuple[int, int] | None = None

    def __str__(self) -> str:
        """Return the family, numbers of tensors and examples in one line."""
        counts = [f"{len(self.loaded)} tensors loaded"]
        for what, names in (
            ("new", self.missing),
            ("unused", self.unexpected),
            ("other shape", self.misshapen),
            ("resized", self.resized),
        ):
            if names:
                counts.append(f"{len(names)} {what} ({few(names, _SHOWN)})")
        parts = [self.family, ", ".join(counts)]
        parts += [f"built with {', '.join(self.built)}"] if self.built else []
        parts += [f"left out: {few(self.left_out, _SHOWN)}"] if self.left_out else []
        parts += ["its images are {} x {}".format(*self.image_size)] if self.image_size else []
        return "; ".join(text for text in (*parts, self.note) if text)


def load_weights(
    embedder: Embedder,
    source: str,
    backbone: str,
    dialect: str = "auto",
    layout_options: Mapping[str, Any] | None = None,
) -> WeightsReport:
    """Load weights into an embedder; the backbone must match completely, the neck may be missing.

    The embedder gets the layout of the file's family, and GeM pooling if the file has its power.

    Args:
        embedder: Embedder, changed in place only if loading succeeds.
        source: ``imagenet``, ``bundled``, ``clip``, or a path for ``read_state``, as saved by
            torchvision, timm, Lightning or the repositories of this field.
        backbone: Name of the network in torchvision or timm.
        dialect: Family of the file: ``auto``, ``none`` to match names and shapes only, or a name of
            ``dialects.families.DIALECTS``.
        layout_options: Options of ``Layout`` that override those of the file's family.

    Raises:
        UserError: The weights do not exist, cannot be downloaded or read, are not finite, do not
            match the embedder, or have trained parts that cannot be built.
    """
    if source == "imagenet":
        size = timm_image_size(backbone) if backbone.startswith(TIMM) else None
        file, dialect = StateFile(imagenet_state(backbone), image_size=size), "imagenet"
        dialect = "torchvision_mobile" if backbone in MOBILE else dialect
    elif source == "clip":
        file = StateFile(clip_state(), {"normalization": "clip"}, OPENAI_CLIP.image_size)
    elif source == "bundled":
        file = read_state(bundled_file())
    else:
        file = read_state(Path(source).expanduser())
    try:
        reading = read_dialect(file, dialect)
        layout = reading.layout
        if backbone.startswith(TIMM) and reading.of_backbone:
            layout = Layout.of(timm_layout(backbone) | layout.options())
        wanted = arrangement(reading.tensors, layout, embedder, layout_options, reading.overlaps)
        arranged = copy.deepcopy(embedder)
        arranged.arrange(wanted.layout, wanted.gem, wanted.embedding_dim)
        matched, report = _match(arranged, reading, file.image_size or reading.image_size)
        problems = _problems(arranged, report, reading, backbone)
        if not problems:
            arranged.check_layout(wanted.layout)
    except (UserError, ValueError) as error:
        raise _error(f"model.weights={source}: {error}") from error
    broken = [name for name, value in matched.items() if not value.isfinite().all()]
    if problems:
        raise _error(f"model.weights={source} does not match {backbone}: {problems}")
    if broken:
        raise _error(
            f"model.weights={source} contains values that are not finite: {few(broken, _SHOWN)}"
        )
    power = matched.get("pooling.p")
    arranged.load_state_dict(matched, strict=False)
    embedder.become(arranged)
    built = [str(wanted.layout)] if wanted.layout.options() else []
    built += [f"embeddings of {wanted.embedding_dim}"] if wanted.embedding_dim else []
    built += [f"GeM of power {power.item():.4g}"] if power is not None else []
    report = replace(report, built=tuple(built), image_size=size_of(reading, file, backbone))
    log.info("weights %s for %s: %s", source, backbone, report)
    return report


def _error(line: str) -> UserError:
    return UserError(" ".join(line.splitlines()))


def _match(
    embedder: Embedder, reading: Reading, image_size: tuple[int, int] | None
) -> tuple[dict[str, Tensor], WeightsReport]:
    """Match the tensors of a file with those of the embedder by name and shape."""
    own: dict[str, Tensor] = embedder.state_dict()
    grid: PositionGrid | None = getattr(embedder.backbone, "positions", None)
    matched: dict[str, Tensor] = {}
    misshapen: dict[str, str] = {}
    rest: dict[str, Tensor] = {}
    resized = []
    for key, given in reading.tensors.items():
        name = own_name(key, own)
        if name is None or name in matched:
            rest[key] = given
            continue
        value, wanted = given, own[name]
        if name.endswith(".pos_embed") and grid is not None:
            old, new = grid_of(value, grid.prefix, image_size), (grid.height, grid.width)
            is_known = value.shape != wanted.shape or image_size is not None
            if old not in (None, new) and is_known:
                interpolated = resize_positions(value, grid, image_size, reading.offset)
                if interpolated is not None and interpolated.shape == wanted.shape:
                    value = interpolated
                    resized.append(name)
            elif old not in (None, new):  # as many patches, so the shape does not tell
                log.warning(
                    "%s: taken as %d x %d patches; if the file is for images of %d x %d patches, "
                    "train with images of that shape", name, *new, *old or ()
                )  # fmt: skip
        if value.numel() == wanted.numel() == 1:
            value = value.reshape(wanted.shape)  # GeM's power, a scalar or a vector of one
        if value.dim() == 4 and value.shape == (*wanted.shape, 1, 1):
            value = value.reshape(wanted.shape)  # an embedding layer as a 1 x 1 convolution
        if value.shape != wanted.shape:
            misshapen[name] = f"{name}: {tuple(value.shape)}, {tuple(wanted.shape)}"
        elif value.is_floating_point() != wanted.is_floating_point() and not _is_counter(name):
            misshapen[name] = f"{name}: {value.dtype}, {wanted.dtype}"
        else:
            matched[name] = value.to(wanted.dtype)
    _match_tied(own, matched)
    # Files from before torch 0.4.1 lack the counters, which are not used.
    found = matched.keys() | misshapen.keys()
    missing = [n for n in own if n not in found and not _is_counter(n)]
    parts = getattr(embedder.backbone, "parts", ())
    dropped = classifiers(rest, {embedder.feature_dim, embedder.pooled_dim, *parts})
    unexpected = [k for k in rest if k not in dropped and not _is_counter(k)]
    return matched, WeightsReport(
        tuple(matched),
        tuple(missing),
        tuple(reading.originals[key] for key in unexpected),
        tuple(misshapen.values()),
        tuple(resized),
        family=reading.family,
        left_out=reading.left_out,
        note=reading.note,
    )


def _match_tied(own: Mapping[str, Tensor], matched: dict[str, Tensor]) -> None:
    """Match the further names of tied tensors, of which safetensors hold one.

    Raises:
        UserError: Tensors of a file differ that are one in the network.
    """
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    for name in sorted(own, key=lambda name: name not in matched):
        place = own[name].data_ptr()
        known = first.setdefault((place, tuple(own[name].shape)), name)
        if place == 0 or known == name or known not in matched:
            continue
        if name in matched and not torch.equal(matched[name], matched[known]):
            raise UserError(f"{known} and {name} are one tensor of the network, two of the file")
        matched[name] = matched[known]


def _is_counter(name: str) -> bool:
    """Return True for counters of batch norms, which are not used and may be halved with a file."""
    return name.endswith("num_batches_tracked")


def _problems(embedder: Embedder, report: WeightsReport, reading: Reading, backbone: str) -> str:
    """Return the differences between a file and the embedder; empty if they match."""
    if reading.backbones and backbone not in reading.backbones:
        return f"{reading.family}; choose model.backbone={' or '.join(reading.backbones)}"
    parts = {part(name) for name in embedder.state_dict() if name.startswith("backbone.")}
    ours = {original: name for name, original in reading.originals.items()}
    unfit = [name for name in report.missing if name.startswith("backbone.")]
    surplus = [key for key in report.unexpected if part(ours[key]) in parts]  # of a deeper network
    if not (unfit or surplus or report.misshapen or (reading.strict and report.unexpected)):
        return ""
    problems = [reading.family, f"{len(report.loaded)} tensors fit"]
    for what, names in (
        ("missing", unfit),
        ("other shapes", report.misshapen),
        ("not in the model", surplus or report.unexpected),
    ):
        if names:
            problems.append(f"{what} {few(names, _SHOWN)}")
    chosen = embedder.architecture.get("backbone", ""), embedder.architecture.get("width", 1.0)
    asked = backbone_settings(reading.tensors)
    asked = "the model of the file" if asked in ("", named(*chosen)) else asked
    remedy = f"choose {asked}, or model.weights=null"
    if not (unfit or surplus or report.misshapen):
        remedy = "choose a model that has these parts, or leave them out by model.dialect=none"
    return "; ".join([*problems, remedy])
