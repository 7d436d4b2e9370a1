"""Loading of embedders from checkpoints and weights."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from dccc_lightning.common import checks, turning_ranges
from dccc_lightning.errors import UserError
from dccc_lightning.inference.checkpoint_files import NETWORKS, find_checkpoint
from dccc_lightning.inference.image_embedder import ImageEmbedder, Origin
from dccc_lightning.models.catalog import OWN
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.foreign_objects import ForeignObjectError, load_tensors
from dccc_lightning.models.network import Embedder
from dccc_lightning.models.state_files import KEY
from dccc_lightning.models.stated_size import BUNDLED_SIZE, bundled_file
from dccc_lightning.models.weight_formats import describe_file, is_safetensors

__all__ = ["ImageEmbedder", "Origin", "load_embedder"]

BETTER = "network"
"""Key in the description of the better network at the last evaluation, if evaluated."""

FORMAT = 1
"""Newest version of the description that can be read."""


class ForeignFileError(UserError):
    """A file of weights of another repository, which does not describe its network."""


_FOREIGN = (
    ", so it is not of this package; load it as weights of the network that it is for: "
    "build_embedder(BACKBONE, weights=FILE), or ckpt= of a task with the model="
)
_PREFIXES = {"teacher": "teacher.network.", "student": "student."}
_NOT_BUILT = ("_target_", "weights", "dialect", "freeze")
_BUILDER = "dccc_lightning.models.embedder.build_embedder"
BUNDLED_MODEL = {"backbone": "resnet10", "width": 0.5, "pooling": "avg", "bn_group_size": 64}
_BUNDLED = Origin(
    path="bundled",
    network="student",
    model=BUNDLED_MODEL,
    height=BUNDLED_SIZE[0],
    width=BUNDLED_SIZE[1],
    dataset="synthetic-source",
)


def load_embedder(
    path: str | os.PathLike[str],
    network: str = "auto",
    device: str | torch.device = "auto",
    backbone: nn.Module | None = None,
    rotations: int | None = None,
    match: str | None = None,
) -> ImageEmbedder:
    """Load a trained network from a checkpoint, a file of weights or a run folder.

    The file is read with ``weights_only=True``, so that no code of it is run. Architecture and
    image size are read from the checkpoint; for old checkpoints and ``weights.pt``, from the
    ``config.yaml`` of their run folder.

    Args:
        path: Checkpoint, ``weights.pt`` of ``task=pretrain``, run folder (its ``best.ckpt``, else
            ``last.ckpt``, else ``weights.pt``), or ``bundled`` for the package's weights.
        network: ``student``, ``teacher``, or ``auto``: the better network at the last evaluation
            before the checkpoint (``best`` in results.json), or without an evaluation the teacher
            if there is one.
        device: Device as in torch; ``auto`` for the GPU if available.
        backbone: Module of the same architecture, for a checkpoint whose backbone is a custom
            module; a copy of it receives the weights.
        rotations: 4 to embed an image as its four quarter turns, for subjects without an upright
            position, such as animals from above. Such embeddings are another kind: a gallery of
            them is searched with ``rotations=4`` only. None as in training.
        match: ``mean`` or ``aligned``, the comparison of the turns; None as in training.

    Raises:
        UserError: The file is missing, damaged, not of this package (``ForeignFileError``), or
            does not contain the network, or ``backbone`` is missing or not needed.
        ValueError: ``network``, ``device``, ``rotations`` or ``match`` is invalid.
    """
    checks.choice("network", network, NETWORKS)
    turning_ranges.embedding(rotations, match, turning_ranges.UNREAD)
    where = usable_device(device)
    bundled = os.fspath(path) == "bundled"
    file = bundled_file() if bundled else find_checkpoint(Path(path).expanduser())
    content = _read(file)
    networks = _networks(content)
    chosen = _better(content, networks) if network == "auto" else network
    if chosen not in networks:
        raise UserError(f"{file}: contains no {chosen}; choose network={next(iter(networks))}")
    _check_own(file, content, networks[chosen])
    origin = _BUNDLED if bundled else _origin(file, content, chosen)
    network_of = _build(origin, networks[chosen], backbone)
    return ImageEmbedder(network_of, origin, where, rotations, match)


def usable_device(device: str | torch.device) -> torch.device:
    """Return a device, for ``auto`` the GPU if available.

    Raises:
        ValueError: It cannot be used.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device}: cannot be used ({_first_line(error)})") from error
    return chosen


def _read(file: Path) -> Mapping[Any, Any]:
    if is_safetensors(file):
        raise ForeignFileError(f"{file}: safetensors have no description of a network{_FOREIGN}")
    try:
        content, _ = load_tensors(file, mmap=True)
    except ForeignObjectError as error:
        raise UserError(f"{file}: not a checkpoint that can be read safely: it {error}") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({_first_line(error)})") from error
    except Exception as error:  # damaged files raise many kinds of exceptions
        raise UserError(f"{file}: {describe_file(file)}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{file}: contains a {type(content).__name__}, not a checkpoint")
    return content


def _networks(content: Mapping[Any, Any]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each network, the teacher first; a plain state dict is a student."""
    state = content.get("state_dict", content)
    items = list(state.items()) if isinstance(state, Mapping) else []
    tensors = {str(name): value for name, value in items if isinstance(value, Tensor)}
    networks = {
        network: {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix)
        }
        for network, prefix in _PREFIXES.items()
    }
    return {name: held for name, held in networks.items() if held} or {"student": tensors}


def _check_own(file: Path, content: Mapping[Any, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raise for a file that is not of this package: neither a description nor its neck."""
    if not content.get(KEY) and "neck.running_mean" not in tensors:
        raise ForeignFileError(f"{file}: has no description of its network{_FOREIGN}")


def _better(content: Mapping[Any, Any], networks: Mapping[str, Any]) -> str:
    """Return the better network according to the checkpoint, else the teacher if it exists.

    So the metrics of a run and the embeddings made from its folder are of the same network.
    """
    described = content.get(KEY)
    named = described.get(BETTER) if isinstance(described, Mapping) else None
    return named if isinstance(named, str) and named in networks else next(iter(networks))


def _origin(file: Path, content: Mapping[Any, Any], network: str) -> Origin:
    """Return the network's description from the checkpoint, else from the run's config.yaml."""
    described = content.get(KEY)  # empty if the module was built without settings
    settings = described or _config(file)
    try:
        if described and described["format"] > FORMAT:
            raise UserError(
                f"{file}: written by dccc-lightning {described['version']}, in a newer format; "
                "update the package"
            )
        model, image, dataset = settings["model"], settings["image"], settings["dataset"]
        rotations, match = turning_ranges.embedding(**settings.get("embedding", {}))
        return Origin(
            path=str(file),
            network=network,
            model={str(k): v for k, v in _named(model).items() if k not in _NOT_BUILT},
            height=checks.integer("image.height", image["height"], 1),
            width=checks.integer("image.width", image["width"], 1),
            dataset=str(dataset["name"] if isinstance(dataset, Mapping) else dataset),
            version=str(settings.get("version", "unknown")),
            fit=turning_ranges.fit(image.get("fit", "stretch")),
            rotations=rotations,
            match=match,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{file}: the description of its network is invalid ({type(error).__name__}: "
            f"{_first_line(error)})"
        ) from error


def _config(file: Path) -> Mapping[str, Any]:
    """Return the settings of the run folder that contains ``file``."""
    places = [folder / "config.yaml" for folder in file.absolute().parents[:2]]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(
            f"{file}: has no description of its network and is not in a run folder with a "
            "config.yaml; move it back into its run folder"
        )
    try:
        settings = yaml.safe_load(path.read_text())
        target = settings["model"]["_target_"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not the settings of a run ({_first_line(error)})") from error
    if target != _BUILDER:  # an untrusted file must not choose the function to call
        raise UserError(f"{path}: model {target} is not of this package, so it is not built")
    assert isinstance(settings, Mapping)
    return settings


def _named(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a model, with a custom backbone replaced by the name of its class."""
    backbone = model["backbone"]
    if not isinstance(backbone, Mapping):
        return model
    return {**model, "backbone": f"{OWN}{backbone['_target_']}"}


def _build(origin: Origin, tensors: Mapping[str, Tensor], backbone: nn.Module | None) -> Embedder:
    """Build the network and load its tensors strictly."""
    name = str(origin.model.get("backbone"))
    own = {} if backbone is None else {"backbone": backbone}
    if backbone is None and name.startswith(OWN):
        raise UserError(
            f"{origin.path}: its backbone is a custom module, {name.removeprefix(OWN)}; load "
            "it with load_embedder(path, backbone=MODULE), or task= with the model= of its run"
        )
    if backbone is not None and not name.startswith(OWN):
        raise UserError(f"{origin.path}: its backbone is {name}; leave backbone out to load it")
    try:
        size = {"image_size": (origin.height, origin.width)}  # used by transformers
        embedder = build_embedder(**size | dict(origin.model) | own, weights=None)
        embedder.load_state_dict(tensors)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{origin.path}: its tensors do not match its settings ({_first_line(error)})"
        ) from error
    return embedder


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
