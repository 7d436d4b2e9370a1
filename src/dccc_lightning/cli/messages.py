"""One-line messages for Hydra's errors, with the nearest valid names."""

import difflib
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)

from dccc_lightning.cli import familiar_commands, setting_names

_UNKNOWN_KEY = re.compile(r"(?:Could not override|Key) '([^']+)'|Error merging override ([^=\s]+)=")
_SEVERAL = re.compile(r"Ambiguous value for argument '([^']+)'")
_NOT_LOADED = re.compile(r"Could not load '(\w+)/([\w-]+)'")
_UNKNOWN_GROUP = re.compile(r"Could not find '([^']+)'|Could not override '([^'@]+)'")


def is_of_hydra(error: ValueError) -> bool:
    """Return True for a ValueError by which Hydra reports an invalid command line."""
    return any(text in str(error) for text in ("Config group override", "Only one of --"))


def explain(error: Exception, conf_dir: Path, arguments: Sequence[str]) -> str:
    """Convert an error of Hydra or OmegaConf to one line with a remedy.

    Args:
        error: Error of the composition.
        conf_dir: Configuration folder.
        arguments: Arguments of the command line, whose group choices determine the valid keys.
    """
    text, places = str(error), setting_names.folders(conf_dir, arguments)
    if isinstance(error, MissingConfigException) and error.options:
        return _unknown_option(str(error.missing_cfg_file), error.options, places)
    if isinstance(error, OverrideParseException):
        return _unread(error.override, text, arguments, places)
    if match := _NOT_LOADED.search(text):
        options = setting_names.options(places, match[1])
        return _unknown_option(f"{match[1]}/{match[2]}", options, places)
    said = _of_values(text, arguments) or _of_keys(text, places, arguments)
    cause = error.__cause__ if isinstance(error, InstantiationException) else None
    return said or str(cause or error).strip().splitlines()[0]  # the message of a constructor


def _unknown_option(missing: str, options: Sequence[str], places: Sequence[Path]) -> str:
    """Return a message about an unknown option of a group, with valid or similar options."""
    if not missing.startswith("sweep/"):
        group, _, option = missing.rpartition("/")
        remedy = setting_names.nearest_option(group, option, options)
        return f"{group}={option}: no such option; {remedy}"
    group, _, option = missing.partition("/")  # the only group with a group within it
    if Path(option).is_dir():
        remedy = "to give a folder, use sweep_folder="
    elif near := difflib.get_close_matches(option, setting_names.options(places, group), 3, 0.6):
        remedy = f"did you mean {' or '.join(near)}?"
    else:
        remedy = f"valid: {', '.join(options)}"
    return f"{group}={option}: no such option; {remedy}"


def _of_values(text: str, arguments: Sequence[str]) -> str:
    """Return a message about values for a sweep or group; empty for other errors."""
    if "Config group override" in text:
        choice = next((a for a in arguments if a.endswith("=null")), "a group")
        return f"{choice}: choose an option; null is not valid"
    if match := _SEVERAL.search(text):
        key, _, value = match[1].partition("=")
        return f"{match[1]}: several values; add -m for a sweep, or brackets: {key}=[{value}]"
    if "does not support sweep type" in text:
        drawn = next((a for a in arguments if "interval(" in a), "a range")
        return f"{drawn}: is a range to search; add hydra/sweeper=optuna"
    return ""


def _of_keys(text: str, places: Sequence[Path], arguments: Sequence[str]) -> str:
    """Return a message about an unknown setting or a section; empty for other errors."""
    match = _UNKNOWN_KEY.search(text) or _UNKNOWN_GROUP.search(text)
    if not match:
        return ""
    key = next(group for group in match.groups() if group)
    known, given = setting_names.keys(places, arguments), _argument_for(key, arguments)
    value = given.partition("=")[2]
    if "not in struct" in text or "Could not override" in text:
        if key in known:
            return f"{key}: only some options of this sweep have this setting"
        if command := familiar_commands.command_for(key, value):
            return f"{given}: no such setting; use {command}"
        remedy = setting_names.elsewhere(key, places) or setting_names.nearest_key(
            key, known, value
        )
        return f"{given}: no such setting; {remedy}"
    own = [name for name in known if name.startswith(f"{key}.")]
    return f"{given}: is a section; set {', '.join(own)}" if own else ""


def _unread(override: str, text: str, arguments: Sequence[str], places: Sequence[Path]) -> str:
    """Return a message about an argument that Hydra cannot parse, quoted if that helps."""
    key, _, value = override.partition("=")
    if override.endswith(".py"):
        return f"{override}: is not needed; omit the script"
    if command := _as_setting(override, arguments, places):
        return f"{override}: settings are key=value: {command}"
    tasks = setting_names.options(places, "task")
    if arguments[:1] == [override] and difflib.get_close_matches(override, tasks, 1, 0.6):
        return f"{override}: no such task; {setting_names.nearest_option('task', override, tasks)}"
    if value and value[0] not in "'\"[{" and "'" not in value:  # the shell takes single quotes
        quoted = f'{key}="{value}"'
        with suppress(HydraException):
            OverridesParser.create().parse_override(quoted)
            return f"{override}: cannot be parsed; quote the value: '{quoted}'"
    return f"cannot parse {override!r} as key=value ({text.splitlines()[0]})"


def _as_setting(override: str, arguments: Sequence[str], places: Sequence[Path]) -> str:
    """Return the argument meant by a word without ``=``; empty if unknown."""
    if "=" in override:
        return ""
    if task := familiar_commands.task_for(override, setting_names.options(places, "task")):
        return task
    key, _, value = override.partition(":")
    following = [b for a, b in pairwise(arguments) if a == override]
    value = (value or next(iter(following), "")).strip().lstrip("=")
    if not re.fullmatch(r"[A-Za-z_][\w.]*", key) or not value or "=" in value:
        return ""
    known = key in setting_names.keys(places, [])
    return f"{key}={value}" if known else familiar_commands.command_for(key, value)


def _argument_for(key: str, arguments: Sequence[str]) -> str:
    """Return the argument that sets a key, or a key with that last name; else the key."""
    given = {argument: argument.partition("=")[0].lstrip("+~") for argument in arguments}
    exact = [argument for argument, name in given.items() if name == key]
    inner = [argument for argument, name in given.items() if name.rpartition(".")[2] == key]
    return next(iter([*exact, *inner]), key)
