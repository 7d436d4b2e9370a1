"""Tensors by name from a file, whoever wrote it, without running anything that it holds."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dccc_lightning.errors import UserError

_WRAPPERS = ("state_dict", "model", "teacher", "student")
"""Entries that hold the state dict in files with more than it; DINO evaluates its teacher."""


class _Discarded:
    """Stands for an object that files carry along and nothing here reads."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_SIDE_DISHES: list[Any] = [
    (_Discarded, name)
    for name in (
        "argparse.Namespace",
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "pathlib.PosixPath",
        "pathlib._local.PosixPath",
    )
]
"""The best mAP as a NumPy number, the arguments of the command: found beside the tensors in files
of this field. They are replaced by nothing, not built."""


def read_state(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a file written by ``torch.save`` or by safetensors.

    A state dict may be the file or lie in it under ``state_dict``, ``model``, ``teacher`` or
    ``student``, one inside another too. Reading never runs code of the file.

    Args:
        path: Of any name; the content tells the format.

    Returns:
        The dense tensors with floating-point or integer values, by name.

    Raises:
        UserError: No such file, a damaged one, one with objects that could run code, or one
            without a state dict.
    """
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises for names that are too long
        raise UserError(f"{_named(path)}: no such file; pass imagenet, bundled or a file")
    try:
        content: Any = load_file(path) if _is_safetensors(path) else _load(path)
    except OSError as error:
        raise UserError(f"{_named(path)}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file trips the readers in all kinds of ways
        raise UserError(
            f"{_named(path)}: not a file of tensors that can be read safely: it is damaged, "
            "or holds other objects"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise UserError(f"{_named(path)}: holds a {type(content).__name__}, no state dict")
    return {str(name): value.detach() for name, value in content.items() if _is_plain(value)}


def _load(path: Path) -> Any:
    with torch.serialization.safe_globals(_SIDE_DISHES):
        return torch.load(path, map_location="cpu", weights_only=True)


def _is_safetensors(path: Path) -> bool:
    """Tell by the JSON header that follows its length; torch's files begin otherwise."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not (value.is_complex() or value.is_meta or value.is_nested)
    )


def _named(path: Path) -> str:
    return " ".join(f"model.weights={path}".splitlines())
