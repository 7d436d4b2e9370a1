"""Checks of arguments that Hydra would accept silently or answer with its usage."""

import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from dccc_lightning.cli import familiar_commands, setting_names
from dccc_lightning.cli.setting_names import nearest_key
from dccc_lightning.errors import UserError

FLAGS = (
    "cfg", "config-dir", "config-name", "config-path", "experimental-rerun", "help", "hydra-help",
    "info", "multirun", "package", "resolve", "run", "shell-completion", "version",
)  # fmt: skip
"""Hydra's flags with two dashes."""

TOPICS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""Topics of Hydra's ``--info``."""

SHORT_FLAGS = ("-h", "-m", "-r", "-i", "-sc")
"""Flags of Hydra with one dash, beside those that take a value: -c -cd -cn -cp -p."""

SHORT_OPTIONS = {
    "-b": "batch_size", "-d": "dataset", "-a": "arch", "-j": "workers", "-e": "epochs",
    "-o": "output", "-s": "seed", "-g": "gpus",
}  # fmt: skip
"""Options of other programs with one dash, and their long names."""

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


def with_verb(arguments: Sequence[str], conf_dir: Path) -> list[str]:
    """Return the arguments with ``task=NAME`` in place of a first argument that names a task."""
    tasks = setting_names.options(setting_names.folders(conf_dir, arguments), "task")
    if not arguments or arguments[0] not in tasks:
        return list(arguments)
    task, rest = f"task={arguments[0]}", arguments[1:]
    # Hydra requires all settings on one side of its flags, as in: train -m seed=1,2
    is_after = len(rest) > 1 and rest[0].startswith("-") and re.match(r"[\w.+~@/]+=", rest[-1])
    return [*rest, task] if is_after else [task, *rest]


def check_flags(arguments: Sequence[str], places: Sequence[Path]) -> None:
    """Refuse settings that are written as options, and another root of the configuration.

    Raises:
        UserError: An argument is refused; the message has a correct one.
    """
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        flag, _, value = argument.partition("=")
        name = flag.removeprefix("--")
        is_long = argument.startswith("--")
        if flag in ("--config-name", "--config", "-cn"):
            _check_root(argument, value or following, places)
        elif flag in ("--cfg", "-c") and (value or following) not in ("job", "hydra", "all"):
            raise UserError(f"{argument}: choose what to show: --cfg job, --cfg hydra or --cfg all")
        elif flag in ("--info", "-i") and not _is_topic(value or following):
            raise UserError(
                f"{flag} {value or following}: choose what to show: --info {', '.join(TOPICS)}"
            )
        elif is_long and (full := [known for known in FLAGS if known.startswith(name)]):
            if name not in FLAGS:
                raise UserError(f"{argument}: write the whole option: --{' or --'.join(full)}")
        elif is_long or _is_foreign_short(flag):
            is_value = not value and "=" not in following and not following.startswith("-")
            value = following if is_value else value
            setting = SHORT_OPTIONS.get(flag, name.replace("-", "_").lstrip("_"))
            raise UserError(
                f"{argument}: settings have no dashes: {_setting(setting, value, places)}; "
                "see --help"
            )


def _is_topic(word: str) -> bool:
    """Return True for a topic of ``--info``, and for none: a setting or an option may follow."""
    return word in ("", *TOPICS) or "=" in word or word.startswith("-")


def _is_foreign_short(flag: str) -> bool:
    is_option = re.fullmatch(r"-[A-Za-z]\w*", flag) is not None
    return is_option and flag not in SHORT_FLAGS and not flag.startswith(("-c", "-p"))


def _setting(name: str, value: str, places: Sequence[Path]) -> str:
    """Return the arguments that set an option of another program, or the nearest settings."""
    if command := familiar_commands.command_for(name, value):
        return command
    known = setting_names.keys(places, [])
    return f"{name}={value or 'VALUE'}" if name in known else nearest_key(name, known, value)


def _check_root(flag: str, name: str, places: Sequence[Path]) -> None:
    """Raise an error for another root than ``train``, suggesting the option of a group."""
    group, _, option = name.removesuffix(".yaml").removesuffix(".yml").rpartition("/")
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
            raise UserError(f"{argument}: no such setting; {nearest_key(name, known, value)}")
