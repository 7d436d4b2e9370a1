"""Turn failures of pictures into warnings, so that they never end a run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dccc_lightning.errors import UnwritableFileError, UserError, is_full_disk

log = logging.getLogger(__name__)


@contextmanager
def warn_on_failure(picture: str) -> Iterator[None]:
    """Log a warning in place of an error within, such as no memory or an unreadable image.

    A full disk is raised, as it concerns the whole run.

    Args:
        picture: Name of the picture, for the warning.

    >>> with warn_on_failure("panel map"):
    ...     raise MemoryError("Unable to allocate 8 GiB")
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UnwritableFileError) or is_full_disk(error):
            raise
        reason = next(iter(str(error).strip().splitlines()), "")
        if not isinstance(error, UserError):
            reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        log.warning("no %s: %s", picture, reason)
