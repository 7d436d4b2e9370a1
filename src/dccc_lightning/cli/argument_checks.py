"""Arguments that Hydra would answer with its usage, or take without a word: refused before it."""

from collections.abc import Sequence
from pathlib import Path

from dccc_lightning.cli import familiar_commands, setting_names
from dccc_lightning.errors import UserError

FLAGS = (
    "cfg", "config-dir", "config-name", "config-path", "experimental-rerun", "help", "hydra-help",
    "info", "multirun", "package", "resolve", "run", "shell-completion", "version",
)  # fmt: skip
"""Flags of Hydra with two dashes."""

_OPEN = ("callbacks", "hydra", "logger", "trainer", "augmentation")
"""Sections, beside the groups, that take settings which the configuration does not have yet."""


def check_arguments(arguments: Sequence[str], conf_dir: Path) -> None:
    """Refuse what cannot be meant, with the command that can.

    Raises:
        UserError: One line with the argument as it should be.
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
    """Refuse settings that are written as options, and another root of the configuration.

    Raises:
        UserError: One of them; the message has it as it should be.
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
            raise UserError(f"{argument}: settings have no dashes: {command}; --help lists some")


def _check_root(flag: str, name: str, places: Sequence[Path]) -> None:
    """Refuse another root than ``train``: presets are options of groups here."""
    group, _, option = name.removesuffix(".yaml").rpartition("/")
    if option == "train" and not group:
        return
    candidates = [group] if group else ["experiment", "task", "dataset", "model"]
    found = [g for g in candidates if option in setting_names.options(places, g)]
    raise UserError(
        f"{flag}: the root is always train; a preset is chosen with "
        f"{found[0] if found else 'experiment'}={option}"
    )


def check_additions(added: Sequence[str], arguments: Sequence[str], places: Sequence[Path]) -> None:
    """Refuse ``+name=value`` where nothing reads it, and ``+group=option``, which needs no plus.

    Raises:
        UserError: One of them; the message has it as it should be.
    """
    groups, own_groups = setting_names.groups(places[:1]), setting_names.groups(places[1:])
    known = set(setting_names.keys(places, [a for a in arguments if a not in added]))
    for argument in added:
        name, _, value = argument.lstrip("+").partition("=")
        root = name.partition(".")[0].partition("/")[0].partition("@")[0]
        if name in groups:
            raise UserError(f"{argument}: a group is chosen without a plus: {name}={value}")
        command = familiar_commands.command_for(name, value)
        if command and name not in known and root not in _OPEN[:3]:
            raise UserError(f"{argument}: no such setting; use {command}")
        if name not in known and root not in (*_OPEN, *groups, *own_groups):
            raise UserError(
                f"{argument}: no such setting; {setting_names.nearest_key(name, known, value)}"
            )
