"""Read pickled tensors past other objects, without running code of the file.

``torch.load(weights_only=True)`` stops at the first object that it does not know: the settings of a
run, a date, a curve of scores. Here such objects are replaced by empty ones, never built; arrays of
NumPy become tensors.
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
"""Each kind of object that is not in ``_KNOWN`` costs one."""

_PLAIN_BUILTINS = {
    "bool", "bytes", "bytearray", "dict", "float", "frozenset", "int", "list", "object", "range",
    "slice", "str", "tuple", "type",
    "getattr",  # early versions of Python 3.11 write members of enumerations with it
}  # fmt: skip
"""Of ``builtins``, what stands for data; the rest, such as ``eval``, acts."""

_ACTING = {
    "_io", "asyncio", "code", "ctypes", "http", "importlib", "io", "multiprocessing", "nt", "os",
    "pickle", "pip", "posix", "pty", "requests", "runpy", "shutil", "socket", "subprocess", "sys",
    "urllib", "webbrowser",
}  # fmt: skip
"""Packages that no file of weights needs: nothing of them would run here either, but the file is
not to be trusted."""

# What torch says of what it does not read; it has no types for them.
_UNKNOWN = re.compile(r"Unsupported global: GLOBAL (.+?) was not an allowed global")
_BLOCKED = re.compile(r"unsupported GLOBAL (.+?) whose module")
_NO_DICT = re.compile(r"Can only SETITEMS? for .* but got <class '(.+)'>")
_NO_LIST = re.compile(r"Can only (?:append to|extend) lists, but got <class '(.+)'>")
_NUMERIC = re.compile(r"[biuf]\d{1,2}")


class _Foreign:
    """Empty object in place of one of the file."""

    def __init__(self, *args: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _ForeignDict(_Foreign):
    """Dictionary in place of one of another make; torch lets no subclass be filled."""

    def __new__(cls, *args: Any) -> Any:
        return OrderedDict()


class _ForeignList(_Foreign):
    """List in place of another sequence."""

    def __new__(cls, *args: Any) -> Any:
        return []


class _DType(_Foreign):
    """Element type of an array."""

    def __init__(self, code: Any = "", *args: Any) -> None:
        self.code, self.order = str(code), "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Array(_Foreign):
    """Array: ``tensor`` holds its numbers, None where it has others than torch."""

    tensor: Tensor | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        if isinstance(dtype, _DType) and _NUMERIC.fullmatch(dtype.code):
            code = "?" if dtype.code == "b1" else dtype.code
            order: Any = dtype.order
            values = np.frombuffer(data, np.dtype(code).newbyteorder(order))
            shaped = np.reshape(values, shape, order="F" if is_fortran else "C")
            with suppress(TypeError):  # torch has no such numbers, as of 16 bytes
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
"""Found in many files of this field, so that these cost no second reading."""


class ForeignObjectError(UserError):
    """A file with an object that acts when it is read, or that cannot be left out."""


def load_tensors(path: Path, mmap: bool = False) -> tuple[Any, tuple[str, ...]]:
    """Read a file of ``torch.save``.

    Args:
        path: Of any name.
        mmap: Read tensors when they are used, where the format allows.

    Returns:
        The content, with tensors in place of arrays of numbers, and the names of the classes whose
        objects were left out, but for those that are in many files.

    Raises:
        ForeignObjectError: An object cannot be left out; the message names it.
        Exception: Anything that torch raises for a damaged file.
    """
    mmap = mmap and zipfile.is_zipfile(path)
    stubs = dict(_KNOWN)
    for _ in range(_MOST_READINGS):
        known: list[Any] = [(kind, name) for name, kind in stubs.items()]
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(known):
                warnings.simplefilter("ignore")  # of protocols: what cannot be read fails
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except OSError as error:
            if error.errno == errno.EINVAL:  # torch looks for a start before that of the file
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
    """Return what to put in place of the object that torch stopped at; None for other errors.

    Raises:
        ForeignObjectError: It would act on the machine, or nothing can take its place.
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
        if package in _ACTING or (package == "builtins" and inner not in _PLAIN_BUILTINS):
            raise ForeignObjectError(_refused([name]))
        return name, type(name, (_Foreign,), {"__module__": "builtins"})  # torch's errors name it
    if "Only persistent_load of storage" in message:
        raise ForeignObjectError(_refused(names or ["a whole module"]))
    if names and ("Can only" in message or "reduce for unrecognized" in message):
        raise ForeignObjectError(_refused(names))
    return None


def _names(stubs: dict[str, type[_Foreign]]) -> tuple[str, ...]:
    return tuple(name for name in stubs if name not in _KNOWN)


def _refused(names: Iterable[str]) -> str:
    return (
        f"holds {few(names)}, which is not read, for it could run code; save the tensors alone in "
        f"the code that wrote it: {STATE_DICT}"
    )


def _with_tensors(content: Any) -> Any:
    """Put tensors in the place of arrays, in dictionaries down to any depth."""
    if isinstance(content, _Array):
        return content.tensor
    for mapping in _mappings(content):
        for key, value in mapping.items():
            if isinstance(value, _Array):
                mapping[key] = value.tensor
    return content


def _mappings(content: Any) -> Iterator[dict[Any, Any]]:
    """Yield every dictionary, each once, whatever refers to what."""
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict) and id(found) not in seen:
            seen.add(id(found))
            waiting += found.values()
            yield found
