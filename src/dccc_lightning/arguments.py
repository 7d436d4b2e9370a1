"""Paths as arguments of a command line that Hydra reads."""

import re
from pathlib import Path

_PLAIN = re.compile(
    r"(?!(?:null|true|false|inf|nan)\Z)(?:[a-z_]|[\w.@%+:-]*/)[\w./@%+:-]*",
    re.ASCII | re.IGNORECASE,
)
"""Paths that Hydra reads as they are; a number, say, would not stay the text that it is."""


def path_argument(key: str, path: str | Path) -> str:
    r"""Return ``key=path`` for the command line, in quotes where Hydra cannot read the path plain.

    >>> print(path_argument("resume", "runs/first"), path_argument("resume", "it's (1)"))
    resume=runs/first resume='it\'s (1)'
    """
    text = str(path)
    if _PLAIN.fullmatch(text):
        return f"{key}={text}"
    doubled = re.sub(r"\\+(?='|\Z)", r"\g<0>\g<0>", text)  # as escapes they count before a quote
    escaped = doubled.replace("'", r"\'")
    return f"{key}='{escaped}'"
