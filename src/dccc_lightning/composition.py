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

_UNKNOWN_KEY = re.compile(r"(?:Could not override|Key) '([^']+)'|Error merging override ([^=\s]+)=")
_UNKNOWN_GROUP = re.compile(r"Could not find '([^']+)'|Could not override '([^'@]+)'")


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
        missing = str(error.missing_cfg_file)
        group, _, option = missing.rpartition("/")
        remedy = _nearest(option, error.options)
        folder = missing.removeprefix("sweep/")
        if folder != missing and Path(folder).is_dir():
            group, option, remedy = "sweep", folder, "a folder is given as sweep_folder="
        return f"{group}={option}: no such option; {remedy}"
    if "Config group override" in text:
        choice = next((a for a in arguments if a.endswith("=null")), "a group")
        return f"{choice}: a group needs one of its options, null is none"
    match = _UNKNOWN_KEY.search(text) or _UNKNOWN_GROUP.search(text)
    if match:
        key = next(group for group in match.groups() if group)
        if "not in struct" in text or "Could not override" in text:
            known = _keys(conf_dir, arguments)
            if key in known:
                return f"{key}: only some of the options that this sweep goes over have it"
            return f"{_argument_for(key, arguments)}: no such setting; {_nearest(key, known)}"
    if isinstance(error, OverrideParseException):
        return _unread(error.override, text)
    cause = error.__cause__ if isinstance(error, InstantiationException) else None
    return str(cause or error).strip().splitlines()[0]  # the cause: what the part itself has said


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


def _nearest(name: str, known: Iterable[str]) -> str:
    options = sorted(set(known))
    if len(options) <= 20:
        return f"valid: {', '.join(options)}"
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
