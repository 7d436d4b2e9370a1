"""Safe reading of pickled tensors from files that also contain other objects.

``torch.load(weights_only=True)`` stops at the first unknown class, such as a configuration, a date
or a curve of scores. Such objects are replaced by empty stubs without running code of the file;
NumPy arrays become tensors.
"""

import errno
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dccc_lightning.errors import UserError
from dccc_lightning.models.weight_formats import STATE_DICT, few

_MOST_READINGS = 200
"""Maximum number of readings; each class that is not in ``_KNOWN`` takes one."""

_PLAIN_BUILTINS = {
    "bool", "bytes", "bytearray", "dict", "float", "frozenset", "int", "list", "object", "range",
    "slice", "str", "tuple", "type",
    "getattr",  # early versions of Python 3.11 pickle members of enumerations with it
}  # fmt: skip
"""Names in ``builtins`` that are data; others, such as ``eval``, could run code."""

_CODE_PACKAGES = {
    "_io", "asyncio", "code", "ctypes", "http", "importlib", "io", "multiprocessing", "nt", "os",
    "pickle", "pip", "posix", "pty", "requests", "runpy", "shutil", "socket", "subprocess", "sys",
    "urllib", "webbrowser",
}  # fmt: skip
"""Packages that a file of weights has no reason to name. Their code would not run either, but the
file is not trustworthy."""

# torch's messages about unsupported objects, which have no exception types.
_UNKNOWN = re.compile(r"Unsupported global: GLOBAL (.+?) was not an allowed global")
_BLOCKED = re.compile(r"unsupported GLOBAL (.+?) whose module")
_NO_DICT = re.compile(r"Can only SETITEMS? for .* but got <class '(.+)'>")
_NO_LIST = re.compile(r"Can only (?:append to|extend) lists, but got <class '(.+)'>")
_NUMERIC = re.compile(r"[biuf]\d{1,2}")


class _Foreign:
    """Stub of an object in the file."""

    def __init__(self, *args: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _ForeignDict(_Foreign):
    """Stub of a mapping: an ``OrderedDict``, since torch does not fill subclasses."""

    def __new__(cls, *args: Any) -> Any:
        return OrderedDict()


class _ForeignList(_Foreign):
    """Stub of a sequence: a list."""

    def __new__(cls, *args: Any) -> Any:
        return []


class _DType(_Foreign):
    """Stub of a NumPy dtype."""

    def __init__(self, code: Any = "", *args: Any) -> None:
        self.code, self.order = str(code), "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Array(_Foreign):
    """Stub of a NumPy array; ``tensor`` has its values, None for dtypes unknown to torch."""

    tensor: Tensor | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        if isinstance(dtype, _DType) and _NUMERIC.fullmatch(dtype.code):
            code = "?" if dtype.code == "b1" else dtype.code
            order: Any = dtype.order
            values = np.frombuffer(data, np.dtype(code).newbyteorder(order))
            shaped = np.reshape(values, shape, order="F" if is_fortran else "C")
            with suppress(TypeError):  # dtypes without an equivalent in torch, such as float128
                self.tensor = torch.from_numpy(shaped.astype(values.dtype.newbyteorder("=")))


_KNOWN: dict[str, type[_Foreign]] = {
    "numpy.dtype": _DType,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "collections.defaultdict": _ForeignDict,
    **dict.fromkeys(
        (
            "numpy.ndarray",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "argparse.Namespace",
            "builtins.list",
            "pathlib.PosixPath",
            "pathlib._local.PosixPath",
        ),
        _Foreign,
    ),
}
"""Stubs of classes that are common in this field's files, which need no further reading."""


class ForeignObjectError(UserError):
    """Error for a file with an object that could run code or cannot be replaced."""


def load_tensors(path: Path, mmap: bool = False) -> tuple[Any, tuple[str, ...]]:
    """Read a file written by ``torch.save``.

    Args:
        path: File of any name.
        mmap: Memory-map the tensors, if the format allows it.

    Returns:
        The content with NumPy arrays converted to tensors, and the names of the classes that were
        replaced by stubs, without the common ones.

    Raises:
        ForeignObjectError: An object cannot be replaced; the message names it.
        Exception: Any exception of torch for a damaged file.
    """
    mmap = mmap and zipfile.is_zipfile(path)
    stubs = dict(_KNOWN)
    for _ in range(_MOST_READINGS):
        known: list[Any] = [(kind, name) for name, kind in stubs.items()]
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(known):
                warnings.simplefilter("ignore")  # about pickle protocols
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except OSError as error:
            if error.errno == errno.EINVAL:  # torch seeks to before the start of a truncated file
                raise EOFError("the end is missing") from error
            raise
        except Exception as error:
            change = _stub_for(str(error), _names(stubs))
            if change is None or stubs.get(change[0]) is change[1]:
                raise
            stubs |= [change]
        else:
            return _with_tensors(content), _names(stubs)
    raise ForeignObjectError(_refused(_names(stubs)))


def _stub_for(message: str, names: tuple[str, ...]) -> tuple[str, type[_Foreign]] | None:
    """Return name and stub of the class in torch's error message; None for other errors.

    Raises:
        ForeignObjectError: The class could run code, or no stub can replace it.
    """
    if found := _NO_DICT.search(message):
        return found[1], type(found[1], (_ForeignDict,), {"__module__": "builtins"})
    if found := _NO_LIST.search(message):
        return found[1], type(found[1], (_ForeignList,), {"__module__": "builtins"})
    if found := _BLOCKED.search(message):
        raise ForeignObjectError(_refused([found[1]]))
    if found := _UNKNOWN.search(message):
        name = found[1] if "." in found[1] else f"builtins.{found[1]}"
        package, _, inner = name.partition(".")
        if package in _CODE_PACKAGES or (package == "builtins" and inner not in _PLAIN_BUILTINS):
            raise ForeignObjectError(_refused([name]))
        return name, type(name, (_Foreign,), {"__module__": "builtins"})  # named in torch's errors
    if "Only persistent_load of storage" in message:
        raise ForeignObjectError(_refused(names or ["a whole module"]))
    if names and ("Can only" in message or "reduce for unrecognized" in message):
        raise ForeignObjectError(_refused(names))
    return None


def _names(stubs: dict[str, type[_Foreign]]) -> tuple[str, ...]:
    return tuple(name for name in stubs if name not in _KNOWN)


def _refused(names: Iterable[str]) -> str:
    return (
        f"contains {few(names)}, which could run code and is not read; save only the tensors with "
        f"{STATE_DICT}"
    )


def _with_tensors(content: Any) -> Any:
    """Replace arrays in nested dictionaries by tensors."""
    if isinstance(content, _Array):
        return content.tensor
    for mapping in _mappings(content):
        for key, value in mapping.items():
            if isinstance(value, _Array):
                mapping[key] = value.tensor
    return content


def _mappings(content: Any) -> Iterator[dict[Any, Any]]:
    """Yield every nested dictionary once, also with circular references."""
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict) and id(found) not in seen:
            seen.add(id(found))
            waiting += found.values()
            yield found
