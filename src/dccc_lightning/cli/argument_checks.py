"""Checks of arguments that Hydra would accept silently or answer with its usage."""

from collections.abc import Sequence
from pathlib import Path

from dccc_lightning.cli import familiar_commands, setting_names
from dccc_lightning.errors import UserError

FLAGS = (
    "cfg", "config-dir", "config-name", "config-path", "experimental-rerun", "help", "hydra-help",
    "info", "multirun", "package", "resolve", "run", "shell-completion", "version",
)  # fmt: skip
"""Hydra's flags with two dashes."""

_OPEN = ("callbacks", "hydra", "logger", "trainer", "augmentation")
"""Sections besides the groups in which ``+name=value`` may add settings."""


def check_arguments(arguments: Sequence[str], conf_dir: Path) -> None:
    """Check the arguments of a command line.

    Raises:
        UserError: An argument is invalid; the message has the correct argument.
    """
    places = setting_names.folders(conf_dir, arguments)
    check_flags(arguments, places)
    for argument in arguments:
        key, is_setting, value = argument.partition("=")
        if is_setting and key in ("hydra.sweeper", "hydra.launcher"):  # a section there
            raise UserError(
                f"{argument}: no such setting; use {familiar_commands.command_for(key, value)}"
            )
    added = [argument for argument in arguments if argument.startswith("+") and "=" in argument]
    if added:
        check_additions(added, arguments, places)


def check_flags(arguments: Sequence[str], places: Sequence[Path]) -> None:
    """Raise an error for settings written as options, and for another root configuration.

    Raises:
        UserError: A flag is invalid; the message has the correct argument.
    """
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        flag, _, value = argument.partition("=")
        name = flag.removeprefix("--")
        if flag in ("--config-name", "-cn"):
            _check_root(argument, value or following, places)
        elif argument.startswith("--") and not any(known.startswith(name) for known in FLAGS):
            is_value = not value and "=" not in following and not following.startswith("-")
            value = following if is_value else value
            setting = name.replace("-", "_")
            command = (
                familiar_commands.command_for(setting, value) or f"{setting}={value or 'VALUE'}"
            )
            raise UserError(f"{argument}: settings have no dashes: {command}; see --help")


def _check_root(flag: str, name: str, places: Sequence[Path]) -> None:
    """Raise an error for another root than ``train``, suggesting the option of a group."""
    group, _, option = name.removesuffix(".yaml").rpartition("/")
    if option == "train" and not group:
        return
    candidates = [group] if group else ["experiment", "task", "dataset", "model"]
    found = [g for g in candidates if option in setting_names.options(places, g)]
    raise UserError(
        f"{flag}: the root is always train; choose a preset with "
        f"{found[0] if found else 'experiment'}={option}"
    )


def check_additions(added: Sequence[str], arguments: Sequence[str], places: Sequence[Path]) -> None:
    """Raise an error for ``+name=value`` of an unknown setting, and for ``+group=option``.

    Raises:
        UserError: An argument is invalid; the message has the correct argument.
    """
    groups, own_groups = setting_names.groups(places[:1]), setting_names.groups(places[1:])
    known = set(setting_names.keys(places, [a for a in arguments if a not in added]))
    for argument in added:
        name, _, value = argument.lstrip("+").partition("=")
        root = name.partition(".")[0].partition("/")[0].partition("@")[0]
        if name in groups:
            raise UserError(f"{argument}: choose a group without a plus: {name}={value}")
        command = familiar_commands.command_for(name, value)
        if command and name not in known and root not in _OPEN[:3]:
            raise UserError(f"{argument}: no such setting; use {command}")
        if name not in known and root not in (*_OPEN, *groups, *own_groups):
            raise UserError(
                f"{argument}: no such setting; {setting_names.nearest_key(name, known, value)}"
            )
