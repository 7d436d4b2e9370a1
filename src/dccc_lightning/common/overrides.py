"""Quoting of paths in Hydra overrides, and separation of flags from overrides."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_PLAIN = re.compile(
    r"(?!(?:null|true|false|inf|nan)\Z)(?:[a-z_]|[\w.@%+:-]*/)[\w./@%+:-]*",
    re.ASCII | re.IGNORECASE,
)
"""Paths that Hydra parses as text without quotes (unlike a number)."""

_WITH_VALUE = {
    "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c",
    "--package", "-p", "--experimental-rerun",
}  # fmt: skip
"""Hydra's flags whose value may be the next word."""


def path_argument(key: str, path: str | Path) -> str:
    r"""Return the override ``key=path``, quoted where Hydra's grammar requires it.

    >>> print(path_argument("resume", "runs/first"), path_argument("resume", "it's (1)"))
    resume=runs/first resume='it\'s (1)'
    """
    text = str(path)
    if _PLAIN.fullmatch(text):
        return f"{key}={text}"
    doubled = re.sub(r"\\+(?='|\Z)", r"\g<0>\g<0>", text)  # escapes only before a quote
    escaped = doubled.replace("'", r"\'")
    return f"{key}='{escaped}'"


def split_flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags of a command line with their values, and its overrides.

    Hydra requires all overrides on one side of its flags.

    >>> split_flags(["epochs=3", "--config-dir", "mine", "-m", "seed=1,2"])
    (['--config-dir', 'mine', '-m'], ['epochs=3', 'seed=1,2'])
    """
    flags: list[str] = []
    settings: list[str] = []
    for word in words:
        is_value = bool(flags) and flags[-1] in _WITH_VALUE
        (flags if is_value or word.startswith("-") else settings).append(word)
    return flags, settings


def config_dir_flags(sources: Iterable[Any]) -> list[str]:
    """Return ``--config-dir`` and its value, if given, from Hydra's ``config_sources``."""
    own = [source["path"] for source in sources if source["provider"] == "command-line"]
    return [word for path in own for word in ("--config-dir", path)]


def config_dir_of(flags: Sequence[str]) -> str | None:
    """Return the value of ``--config-dir`` among flags as ``split_flags`` returns them.

    >>> config_dir_of(["-m", "--config-dir", "mine"]), config_dir_of(["--config-dir=mine"])
    ('mine', 'mine')
    """
    for flag, word in zip(flags, [*flags, ""][1:], strict=True):
        name, _, value = flag.partition("=")
        if name in ("--config-dir", "-cd"):
            return value or word
    return None


def several_datasets(arguments: Sequence[str]) -> list[str]:
    """Replace a list of datasets by ``dataset=several``, since Hydra would merge their settings.

    >>> several_datasets(["dataset=[market1501,msmt17]", "seed=2"])
    ['dataset=several', 'dataset.of=[market1501,msmt17]', 'seed=2']
    """
    found = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        is_list = name == "dataset" and value.startswith("[") and value.endswith("]")
        found += ["dataset=several", f"dataset.of={value}"] if is_list else [argument]
    return found
