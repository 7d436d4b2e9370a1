"""Weights from torchvision, from this package or from a file, with a report of what fitted."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from dccc_lightning.errors import UserError

log = logging.getLogger(__name__)

BUNDLED = "resnet10_synthetic.pt"
_WRAPPERS = ("state_dict", "model", "student")
_PREFIXES = ("module.", "student.", "backbone.", "base.", "encoder.")
_HEADS = ("fc.", "classifier.", "head.")


@dataclass(frozen=True)
class WeightsReport:
    """What became of the tensors of a file.

    Attributes:
        loaded: Names in the embedder that were filled.
        missing: Names in the embedder that the file lacks.
        unexpected: Names in the file that the embedder lacks (classifier heads are not counted).
        misshapen: Names in both with different shapes, as ``name: file shape, model shape``.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]


def load_weights(embedder: nn.Module, source: str, backbone: str) -> WeightsReport:
    """Fill ``embedder`` from ``source``; the whole backbone must fit, the neck may be new.

    Args:
        embedder: Filled in place.
        source: ``imagenet``, ``bundled`` or the path of a state dict, as torchvision, Lightning or
            the repositories of this field save it.
        backbone: The name under which torchvision knows the network.

    Raises:
        UserError: Nothing under that name, no network, not a state dict, or keys that do not fit.
    """
    if source == "imagenet":
        state = _imagenet(backbone)
    elif source == "bundled":
        state = _read(Path(str(resources.files("dccc_lightning") / "weights" / BUNDLED)))
    else:
        state = _read(Path(source).expanduser())
    report = _fit(embedder, state)
    unfit = [name for name in report.missing if name.startswith("backbone.")]
    if unfit or report.misshapen or _surplus(embedder, report.unexpected):
        problems = [f"missing {_few(unfit)}"] if unfit else []
        if report.misshapen:
            problems.append(f"other shapes {_few(report.misshapen)}")
        if report.unexpected:
            problems.append(f"not in the model {_few(report.unexpected)}")
        raise UserError(
            f"model.weights={source} does not fit {backbone}: {'; '.join(problems)}; "
            "choose the model that the file was made with, or model.weights=null"
        )
    log.info(
        "weights %s: %d tensors loaded, %d new, %d unused",
        source, len(report.loaded), len(report.missing), len(report.unexpected),
    )  # fmt: skip
    return report


def _imagenet(backbone: str) -> Mapping[str, Tensor]:
    try:
        weights = get_model_weights(backbone)["IMAGENET1K_V1"]
    except ValueError:
        raise UserError(
            f"model.weights=imagenet: torchvision has no ImageNet weights for {backbone}; "
            "pass a file or model.weights=null"
        ) from None
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except Exception as error:  # no network, a download cut short, a damaged file in the cache
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"model.weights=imagenet: the ImageNet weights of {backbone} could not be downloaded "
            f"({reason}); download {weights.url.rsplit('/', 1)[-1]} elsewhere and pass "
            "model.weights=PATH"
        ) from error
    return state


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UserError(f"model.weights={path}: no such file; pass imagenet, bundled or a file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"model.weights={path}: cannot be read ({error})") from error
    except Exception as error:  # a damaged file trips torch's reader in all kinds of ways
        raise UserError(
            f"model.weights={path}: not a file of tensors that can be read safely: it is damaged, "
            "or holds other objects"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise UserError(f"model.weights={path}: holds a {type(content).__name__}, no state dict")
    return {str(k): v for k, v in content.items() if isinstance(v, Tensor)}


def _fit(embedder: nn.Module, state: Mapping[str, Tensor]) -> WeightsReport:
    own = embedder.state_dict()
    matched: dict[str, Tensor] = {}
    misshapen, unexpected = [], []
    for key, value in state.items():
        name = _own_name(key, own)
        if name is None:
            bare = key.removeprefix("module.")
            # The rest of a checkpoint of ours is not the student's business.
            if not bare.startswith((*_HEADS, "teacher.", "memory.", "loss_sums")):
                unexpected.append(key)
        elif own[name].shape != value.shape:
            misshapen.append(f"{name}: {tuple(value.shape)}, {tuple(own[name].shape)}")
        else:
            matched[name] = value.to(own[name].dtype)
    embedder.load_state_dict(matched, strict=False)
    # Files from before torch 0.4.1 lack the counters, which nothing here reads.
    missing = [n for n in own if n not in matched and not n.endswith("num_batches_tracked")]
    missing = [n for n in missing if n not in {m.split(":")[0] for m in misshapen}]
    return WeightsReport(tuple(matched), tuple(missing), tuple(unexpected), tuple(misshapen))


def _own_name(key: str, own: Mapping[str, Tensor]) -> str | None:
    """Find the embedder's name for a file's ``key``: prefixes of wrappers are peeled off."""
    while True:
        for candidate in (key, f"backbone.{key}"):
            if candidate in own:
                return candidate
        prefix = next((p for p in _PREFIXES if key.startswith(p)), None)
        if prefix is None:
            return None
        key = key.removeprefix(prefix)


def _surplus(embedder: nn.Module, unexpected: tuple[str, ...]) -> list[str]:
    """Return the tensors of ``unexpected`` that a deeper backbone than the embedder's has."""
    own = {name.split(".")[1] for name in embedder.state_dict() if name.startswith("backbone.")}
    return [key for key in unexpected if _bare(key).split(".")[0] in own]


def _bare(key: str) -> str:
    """Peel all prefixes of wrappers off ``key``."""
    prefix = next((p for p in _PREFIXES if key.startswith(p)), None)
    return key if prefix is None else _bare(key.removeprefix(prefix))


def _few(names: "list[str] | tuple[str, ...]", limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
