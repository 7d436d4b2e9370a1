"""The one exception that stands for a mistake of the user's."""

import errno


class UserError(Exception):
    """Bad input: shown as a single line that names the thing, the place and the remedy.

    The command line turns it into exit code 2 without a traceback; library callers catch it as any
    exception. Messages are one line.
    """


class UnreadableImageError(UserError):
    """An image file that cannot be decoded; the message names its path."""


class UnwritableFileError(UserError):
    """A file that cannot be written; what was there before is as it was."""


def is_full_disk(error: BaseException) -> bool:
    """Tell whether a disk, or the user's share of it, has no room left.

    >>> is_full_disk(OSError(errno.ENOSPC, "No space left on device"))
    True
    """
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_misconfiguration(error: BaseException) -> bool:
    """Tell whether Lightning refused a setting.

    By the name of the exception: to import it takes seconds, which a command line that is wrong, or
    asks for help, need not wait for.
    """
    return any(kind.__name__ == "MisconfigurationException" for kind in type(error).__mro__)
