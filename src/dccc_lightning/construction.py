"""From settings to an object, or to one line that names the setting."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException

from dccc_lightning.errors import UserError

T = TypeVar("T")

Settings = Mapping[str, Any]
"""The composed configuration, resolved, as plain containers."""


def construct(group: str, settings: Settings, **arguments: Any) -> Any:
    """Instantiate a group's ``_target_``.

    Raises:
        UserError: The constructor refuses a value: one line that begins with the group.
    """
    try:
        return instantiate(dict(settings), **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, (ValueError, TypeError, ImportError)):
            raise UserError(f"{group}: {first_line(cause)}") from cause
        raise UserError(f"{group}: {first_line(error)}") from cause


def checked(place: str, build: Callable[[], T]) -> T:
    """Call ``build``; what it refuses becomes a UserError that names the place."""
    try:
        return build()
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise UserError(f"{place}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, else its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
