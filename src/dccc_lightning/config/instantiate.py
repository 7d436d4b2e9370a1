"""Instantiation of objects from settings, with one-line errors that name the setting."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from dccc_lightning.errors import UserError, is_misconfiguration

T = TypeVar("T")

Settings = Mapping[str, Any]
"""Composed and resolved configuration, as plain containers."""


def construct(group: str, settings: Settings, **arguments: Any) -> Any:
    """Instantiate the ``_target_`` of a config group.

    Raises:
        UserError: The constructor raised an error; the message begins with the group.
    """
    try:
        return instantiate(dict(settings), **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        if _is_refusal(cause) or isinstance(cause, ImportError):
            raise UserError(placed(first_line(cause), group, {group: settings})) from cause
        raise UserError(f"{group}: {first_line(error)}") from cause


def checked(place: str, build: Callable[[], T], settings: Settings | None = None) -> T:
    """Call ``build`` and convert its ValueError or TypeError to a UserError.

    Args:
        place: Name of the object, for the message.
        build: Function to call.
        settings: See ``placed``.
    """
    try:
        return build()
    except Exception as error:
        if not _is_refusal(error):
            raise
        raise UserError(placed(first_line(error), place, settings or {})) from error


def placed(message: str, place: str, settings: Settings) -> str:
    """Prefix a constructor's message by the section of the setting that it names, or by the place.

    Args:
        message: Message of a constructor.
        place: Name of the object.
        settings: Settings of the object, by name or by section.

    >>> placed("momentum must be in [0, 1), got 2", "memory", {"memory": {"momentum": 2}})
    'memory.momentum must be in [0, 1), got 2'
    >>> placed("epochs must be at least 1, got 0", "trainer", {"epochs": 0})
    'epochs must be at least 1, got 0'
    >>> placed("no such file", "model", {"model": {"weights": "a.pt"}})
    'model: no such file'
    """
    name = message.partition(" ")[0]
    for section, values in settings.items():
        if isinstance(values, Mapping) and name in values:
            return f"{section}.{message}"
    return message if name in {place, *settings} else f"{place}: {message}"


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, (ValueError, TypeError)) or is_misconfiguration(error)


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's message, and the second after a colon; else its type.

    >>> first_line(ValueError("k1 is 0\nsee above")), first_line(ImportError("No a.B:\nwhy"))
    ('k1 is 0', 'No a.B: why')
    """
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
