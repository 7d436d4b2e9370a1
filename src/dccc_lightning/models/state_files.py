"""Tensors by name from a file, whoever wrote it, without running anything that it holds."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dccc_lightning.errors import UserError
from dccc_lightning.models.catalog import check_file
from dccc_lightning.models.foreign_objects import ForeignObjectError, load_tensors
from dccc_lightning.models.weight_formats import STATE_DICT, describe_file, few, is_safetensors

log = logging.getLogger(__name__)

_WRAPPERS = ("state_dict", "model", "teacher", "student")
"""Entries that hold the state dict in files with more than it; DINO evaluates its teacher."""


def read_state(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a file written by ``torch.save`` or by safetensors.

    A state dict may be the file or lie in it under ``state_dict``, ``model``, ``teacher`` or
    ``student``, one inside another too. Arrays of NumPy count as tensors. Reading never runs code
    of the file: other objects are left out.

    Args:
        path: Of any name; the content tells the format.

    Returns:
        The dense tensors with floating-point or integer values, by name.

    Raises:
        UserError: No such file, a damaged one, one with objects that could run code, or one
            without a state dict; the message names the object, or the kind of the file.
    """
    check_file(path)
    left_out: tuple[str, ...] = ()
    try:
        if is_safetensors(path):
            content: Any = load_file(path)
        else:
            content, left_out = load_tensors(path)
        for wrapper in _WRAPPERS:
            if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
                content = content[wrapper]
        is_state = isinstance(content, Mapping)
        items = content.items() if is_state else ()
        tensors = {str(name): value.detach() for name, value in items if _is_plain(value)}
    except ForeignObjectError as error:
        raise UserError(
            f"{_named(path)}: not a file of tensors that can be read safely: it {error}"
        ) from error
    except OSError as error:
        raise UserError(f"{_named(path)}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file trips the readers in all kinds of ways
        raise UserError(
            f"{_named(path)}: not a file of tensors that can be read safely: {describe_file(path)}"
        ) from error
    if left_out and not tensors:
        raise UserError(
            f"{_named(path)}: holds {few(left_out)} and no state dict; in the code that wrote it, "
            f"{STATE_DICT} writes one"
        )
    if not is_state:
        raise UserError(f"{_named(path)}: holds a {type(content).__name__}, no state dict")
    if left_out:
        log.info("%s: left out, for they are no tensors: %s", _named(path), few(left_out))
    return tensors


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not (value.is_complex() or value.is_meta or value.is_nested)
    )


def _named(path: Path) -> str:
    return " ".join(f"model.weights={path}".splitlines())
