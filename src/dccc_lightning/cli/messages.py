"""What went wrong when a configuration was composed, in one line, with the nearest valid names."""

import difflib
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf

from dccc_lightning.errors import UserError

_UNKNOWN_KEY = re.compile(r"(?:Could not override|Key) '([^']+)'|Error merging override ([^=\s]+)=")
_SEVERAL = re.compile(r"Ambiguous value for argument '([^']+)'")
_NOT_LOADED = re.compile(r"Could not load '(\w+)/([\w-]+)'")
_UNKNOWN_GROUP = re.compile(r"Could not find '([^']+)'|Could not override '([^'@]+)'")


FLAGS = (
    "cfg", "config-dir", "config-name", "config-path", "experimental-rerun", "help", "hydra-help",
    "info", "multirun", "package", "resolve", "run", "shell-completion", "version",
)  # fmt: skip
"""What Hydra knows with two dashes."""


def check_flags(arguments: Iterable[str]) -> None:
    """Refuse settings that are written as options, which Hydra answers with its usage.

    Raises:
        UserError: One of them; the message has it as it should be.
    """
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and not any(flag.startswith(name) for flag in FLAGS):
            setting = f"{name.replace('-', '_')}={value or 'VALUE'}"
            raise UserError(f"{argument}: settings have no dashes: {setting}; --help lists some")


def is_of_hydra(error: ValueError) -> bool:
    """Tell whether it is Hydra that complains about the command line, by a plain ValueError."""
    return any(text in str(error) for text in ("Config group override", "Only one of --"))


def explain(error: Exception, conf_dir: Path, arguments: Sequence[str]) -> str:
    """Turn an error of Hydra or OmegaConf into one line that names the remedy.

    Args:
        error: What composing raised.
        conf_dir: Where the groups lie.
        arguments: Of the command line, to find valid keys with the same group choices.
    """
    text = str(error)
    if isinstance(error, MissingConfigException) and error.options:
        return _unknown_option(str(error.missing_cfg_file), error.options, conf_dir)
    if isinstance(error, OverrideParseException):
        return _unread(error.override, text)
    if match := _NOT_LOADED.search(text):
        options = sorted(path.stem for path in (conf_dir / match[1]).glob("*.yaml"))
        return _unknown_option(f"{match[1]}/{match[2]}", options, conf_dir)
    said = _of_values(text, arguments) or _of_keys(text, conf_dir, arguments)
    cause = error.__cause__ if isinstance(error, InstantiationException) else None
    return said or str(cause or error).strip().splitlines()[0]  # the cause: what the part has said


def _unknown_option(missing: str, options: Sequence[str], conf_dir: Path) -> str:
    """Say which options a group has, or which are like the one that it lacks."""
    if not missing.startswith("sweep/"):
        group, _, option = missing.rpartition("/")
        return f"{group}={option}: no such option; {_nearest(option, options)}"
    group, _, option = missing.partition("/")  # the only group with a group within it
    presets = (conf_dir / group).rglob("*.yaml")
    names = [str(path.relative_to(conf_dir / group).with_suffix("")) for path in presets]
    if Path(option).is_dir():
        remedy = "a folder is given as sweep_folder="
    elif near := difflib.get_close_matches(option, names, 3, 0.6):
        remedy = f"did you mean {' or '.join(near)}?"
    else:
        remedy = f"valid: {', '.join(options)}"
    return f"{group}={option}: no such option; {remedy}"


def _of_values(text: str, arguments: Sequence[str]) -> str:
    """Say what is wrong with values that belong to a sweep or a group; nothing if they do not."""
    if "Config group override" in text:
        choice = next((a for a in arguments if a.endswith("=null")), "a group")
        return f"{choice}: a group needs one of its options, null is none"
    if match := _SEVERAL.search(text):
        key, _, value = match[1].partition("=")
        return f"{match[1]}: several values; a sweep needs -m, a list brackets: {key}=[{value}]"
    if "does not support sweep type" in text:
        drawn = next((a for a in arguments if "interval(" in a), "a range")
        return f"{drawn}: is to be searched; add hydra/sweeper=optuna"
    return ""


def _of_keys(text: str, conf_dir: Path, arguments: Sequence[str]) -> str:
    """Say which setting was meant where there is none of a name, or it has parts."""
    match = _UNKNOWN_KEY.search(text) or _UNKNOWN_GROUP.search(text)
    if not match:
        return ""
    key = next(group for group in match.groups() if group)
    known, given = _keys(conf_dir, arguments), _argument_for(key, arguments)
    if "not in struct" in text or "Could not override" in text:
        if key in known:
            return f"{key}: only some of the options that this sweep goes over have it"
        return f"{given}: no such setting; {_elsewhere(key, conf_dir) or _nearest(key, known)}"
    own = [name for name in known if name.startswith(f"{key}.")]
    return f"{given}: has settings of its own: {', '.join(own)}" if own else ""


def _unread(override: str, text: str) -> str:
    """Say that Hydra cannot read an argument; put it in quotes, if it can be read then."""
    key, _, value = override.partition("=")
    if value and value[0] not in "'\"[{" and "'" not in value:  # the shell takes single quotes
        quoted = f'{key}="{value}"'
        with suppress(HydraException):
            OverridesParser.create().parse_override(quoted)
            return f"{override}: cannot be read as it is; quote the value: '{quoted}'"
    return f"cannot read {override!r} as key=value ({text.splitlines()[0]})"


def _argument_for(key: str, arguments: Sequence[str]) -> str:
    return next((a for a in arguments if a.partition("=")[0].split(".")[-1] == key), key)


def _elsewhere(key: str, conf_dir: Path) -> str:
    """Say which options of the group have a setting that the chosen one lacks."""
    group, _, inner = key.partition(".")
    having = []
    for file in sorted((conf_dir / group).glob("*.yaml")) if inner else []:
        settings = OmegaConf.to_container(OmegaConf.load(file))  # references lead out of the file
        is_global = "@package _global_" in file.read_text()
        if (key if is_global else inner) in _flatten(settings, ""):
            having.append(f"{group}={file.stem}")
    return f"with {' or '.join(having)}" if having else ""


def _nearest(name: str, known: Iterable[str]) -> str:
    options = sorted(set(known))
    if len(options) <= 20:
        return f"valid: {', '.join(options)}"
    sections = {option.rpartition(".")[0] for option in options}
    options = [o for o in options if o not in sections or "." not in name]
    near = difflib.get_close_matches(name, options, 3, 0.75)
    leaf = name.rpartition(".")[2]
    near += [o for o in options if difflib.get_close_matches(leaf, [o.rpartition(".")[2]], 1, 0.8)]
    if near:
        return f"did you mean {' or '.join(dict.fromkeys(near[:4]))}?"
    return "--cfg job shows all of them"


def _keys(conf_dir: Path, arguments: Sequence[str]) -> list[str]:
    """Return every dotted key and group of the configuration."""
    groups = sorted(path.name for path in conf_dir.iterdir() if path.is_dir())
    choices = [a for a in arguments if re.fullmatch(rf"({'|'.join(groups)})=[\w-]+", a)]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir), version_base="1.3"):
        try:
            config = compose("train", overrides=choices)
        except HydraException:  # one of the choices may be what is wrong
            config = compose("train")
    return [*groups, *_flatten(OmegaConf.to_container(config, resolve=False), "")]


def _flatten(node: object, prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return []
    keys: list[str] = []
    for name in node:
        if name != "_target_":
            keys += [f"{prefix}{name}", *_flatten(node[name], f"{prefix}{name}.")]
    return keys
