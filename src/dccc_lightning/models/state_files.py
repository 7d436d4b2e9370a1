"""Safe reading of state dicts from files of other projects."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from dccc_lightning.errors import UserError
from dccc_lightning.models.foreign_objects import ForeignObjectError, load_tensors
from dccc_lightning.models.weight_formats import (
    STATE_DICT,
    check_file,
    describe_file,
    few,
    is_safetensors,
)

log = logging.getLogger(__name__)

_MEANS = ("state_dict_ema", "model_ema")
"""Keys of moving averages of a network, which timm and torchvision evaluate."""

_WRAPPERS = (*_MEANS, "state_dict", "model", "teacher", "student")
"""Keys that may contain the state dict, in order of preference; DINO evaluates its teacher."""

_DEEPEST = 4
"""Keys within keys that are followed."""

_NETWORKS = re.compile(r"state_dict_\d+$|model_\d+(_ema)?$")
"""Keys of one of several state dicts, which become prefixes of the names."""

KEY = "dccc_lightning"
"""Key of a checkpoint's description: format, version, model, image, dataset."""


class StateFile(NamedTuple):
    """Tensors of a file by name, and what a checkpoint of this package says of its network.

    Attributes:
        tensors: Tensors by name.
        layout: Layout of the network.
        image_size: Height and width of its images.
    """

    tensors: Mapping[str, Tensor]
    layout: Mapping[str, Any] | None = None
    image_size: tuple[int, int] | None = None


def read_state(path: Path) -> StateFile:
    """Read the tensors of a file written by ``torch.save`` or safetensors.

    The state dict is the content of the file, or nested under ``state_dict``, ``model``,
    ``teacher``, ``student`` or the only key with tensors; several state dicts, ``model_1`` or
    ``state_dict_1`` and so on, are read as one. NumPy arrays are converted to tensors. No code of
    the file is run; other objects are ignored.

    Args:
        path: File of any name; the format is detected from the content.

    Returns:
        The dense floating-point and integer tensors, by name, and the layout that checkpoints of
        this package describe.

    Raises:
        UserError: The file is missing or damaged, has objects that could run code, or has no state
            dict; the message names the object or the kind of file.
    """
    check_file(path)
    left_out: tuple[str, ...] = ()
    try:
        if is_safetensors(path):
            content: Any = load_file(path)
        else:
            content, left_out = load_tensors(path)
        layout, image_size = _layout(content), _image_size(content)
        for _ in range(_DEEPEST):
            wrapper = _wrapper(content) if isinstance(content, Mapping) else None
            if wrapper is None:
                break
            content = content[wrapper]
            if wrapper in _MEANS:
                log.info("%s: the moving average %s is taken", _named(path), wrapper)
        is_state = isinstance(content, Mapping)
        items = _unfold(content).items() if is_state else ()
        tensors = {str(name): value.detach() for name, value in items if _is_plain(value)}
    except ForeignObjectError as error:
        raise UserError(
            f"{_named(path)}: not a file of tensors that can be read safely: it {error}"
        ) from error
    except OSError as error:
        raise UserError(f"{_named(path)}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # damaged files raise many kinds of exceptions
        raise UserError(
            f"{_named(path)}: not a file of tensors that can be read safely: {describe_file(path)}"
        ) from error
    if left_out and not tensors:
        raise UserError(
            f"{_named(path)}: contains {few(left_out)} and no state dict; save one with "
            f"{STATE_DICT}"
        )
    if not is_state:
        raise UserError(f"{_named(path)}: contains a {type(content).__name__}, not a state dict")
    if left_out:
        log.info("%s: ignored, not tensors: %s", _named(path), few(left_out))
    return StateFile(tensors, layout, image_size)


def _wrapper(content: Mapping[Any, Any]) -> object | None:
    """Return the key of the state dict in ``content``; None if that is the state dict itself."""
    held = [name for name, value in content.items() if isinstance(value, Mapping) and value]
    for wrapper in _WRAPPERS:
        if wrapper in held:
            return wrapper
    if any(_is_plain(value) for value in content.values()):
        return None
    states = [name for name in held if any(_is_plain(value) for value in content[name].values())]
    return states[0] if len(states) == 1 and not _NETWORKS.match(str(states[0])) else None


def _layout(content: object) -> Mapping[str, Any] | None:
    """Return the layout in a description by this package."""
    described = content.get(KEY) if isinstance(content, Mapping) else None
    model = described.get("model") if isinstance(described, Mapping) else None
    layout = model.get("layout") if isinstance(model, Mapping) else None
    return layout if isinstance(layout, Mapping) else None


def _image_size(content: object) -> tuple[int, int] | None:
    """Return the size of the images in a description by this package."""
    described = content.get(KEY) if isinstance(content, Mapping) else None
    image = described.get("image") if isinstance(described, Mapping) else None
    if not isinstance(image, Mapping):
        return None
    height, width = image.get("height"), image.get("width")
    if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
        return height, width
    return None


def _unfold(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the tensors of several state dicts as one."""
    unfolded: dict[Any, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping) and _NETWORKS.match(str(name)):
            unfolded |= {f"{name}.{inner}": tensor for inner, tensor in value.items()}
        else:
            unfolded[name] = value
    return unfolded


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not (value.is_complex() or value.is_meta or value.is_nested)
    )


def _named(path: Path) -> str:
    return " ".join(f"model.weights={path}".splitlines())
