"""Exceptions for mistakes of the user and faults of files."""

import errno


class UserError(Exception):
    """Error in the user's input, with a one-line message that names the cause and the remedy.

    The command line prints the message without a traceback and exits with code 2.
    """


class UnreadableImageError(UserError):
    """An image file that cannot be decoded; the message names its path."""


class UnwritableFileError(UserError):
    """A file that cannot be written; its previous content is unchanged."""


_ONLY_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def is_full_disk(error: BaseException) -> bool:
    """Return True if the disk is full or read-only, or a limit of the user is exhausted.

    >>> is_full_disk(OSError(errno.ENOSPC, "No space left on device"))
    True
    """
    return isinstance(error, OSError) and error.errno in _ONLY_OF_WRITING


def is_misconfiguration(error: BaseException) -> bool:
    """Return True for Lightning's ``MisconfigurationException``.

    Compared by name, since importing Lightning takes seconds.
    """
    return any(kind.__name__ == "MisconfigurationException" for kind in type(error).__mro__)
