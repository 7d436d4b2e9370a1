"""Settings of a resumed run, from its folder instead of the current presets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import yaml
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dccc_lightning.cli.configuration import conf_dir
from dccc_lightning.config.compositions import composed
from dccc_lightning.config.preset_diff import flat, is_place
from dccc_lightning.errors import UserError

Plain = dict[str, Any]

_NOT_KEPT = {"resume": None, "ckpt_path": None, "trust": False}
"""Settings that are not kept from an earlier start."""

_ABSENT = object()


@dataclass
class OwnSettings:
    """Settings of a resumed run, to which new arguments are applied.

    Attributes:
        folder: Run folder.
        settings: Settings with interpolations, so that a change affects dependent settings.
        before: Resolved settings of the run, those that are new in this version at their default.
        choices: Options of groups from which they were composed.
        groups: Groups changed by this start, such as ``scheduler exponential -> linear``.
    """

    folder: Path
    settings: Plain
    before: Plain
    choices: dict[str, Any]
    groups: dict[str, str] = field(default_factory=dict)

    def remember(self, arguments: Sequence[str]) -> None:
        """Add choices of several options from earlier arguments, which Hydra does not record."""
        for argument in arguments:
            group, _, option = argument.partition("=")
            if group in self.settings and group not in self.choices and _folder(group).is_dir():
                self.choices[group] = _chosen(group, option)

    def choose(self, arguments: Sequence[str], config_dir: str | None) -> list[str]:
        """Compose the groups chosen by arguments, and return the other arguments.

        An argument that repeats the choice of the run is ignored, since the preset may have
        changed.

        Args:
            arguments: Arguments without flags.
            config_dir: Folder of custom groups.

        Raises:
            UserError: A chosen group affects more than its section.
        """
        rest = []
        for argument in arguments:
            name, _, option = argument.partition("=")
            group = name.lstrip("+")
            is_choice = group in self.choices or (group.isidentifier() and _folder(group).is_dir())
            if not is_choice or name.startswith("~"):
                rest.append(self._fitting(argument))
                continue
            chosen, earlier = _chosen(group, option), self.choices.get(group)
            if _named(chosen) == _named(earlier):
                continue
            if group not in self.settings or _is_global(group):
                raise UserError(
                    f"{argument}: a resumed run keeps its {group} ({_named(earlier)}); override "
                    "single settings, or start another run with output=FOLDER"
                )
            whole = [f"{g}={o}" for g, o in self.choices.items() if o and _is_global(g)]
            self.settings[group] = _composed([*whole, argument], config_dir)[group]
            self.choices[group] = chosen
            self.groups[group] = f"{group} {_named(earlier)} -> {_named(chosen)}"
        return [argument for argument in rest if argument]

    @contextmanager
    def stored(self) -> Iterator[str]:
        """Register the settings as a primary configuration of Hydra, and yield its name.

        They are removed in the end, since Hydra copies all that is registered for a composition.
        """
        root = _root()
        of_hydra = [entry for entry in root["defaults"] if "hydra/" in str(entry)]
        hydra = root["hydra"] | {"output_subdir": None}  # written together with config.yaml
        node = {"defaults": ["_self_", *of_hydra], "hydra": hydra} | self.settings
        name = f"run_{uuid4().hex}"
        store = ConfigStore.instance()
        store.store(name, OmegaConf.create(node))
        try:
            yield name
        finally:
            del store.repo[f"{name}.yaml"]

    def changes(self, config: DictConfig, settings: Mapping[str, Any]) -> list[str]:
        """Return the changed settings, such as ``epochs 16 -> 32``.

        Args:
            config: Composed configuration.
            settings: The same, resolved.
        """
        before, now = flat(self.before), flat(settings)
        references = [f"{n}." for n, v in flat(OmegaConf.to_container(config)).items() if "${" in v]
        found = list(self.groups.values())
        for name in [*now, *(name for name in before if name not in now)]:
            follows = f"{name}.".startswith(tuple(references)) or is_place(name)
            is_of_group = name.endswith("._target_") and name.partition(".")[0] in self.groups
            if before.get(name) != now.get(name) and not follows and not is_of_group:
                found.append(f"{name} {before.get(name, 'absent')} -> {now.get(name, 'absent')}")
        return found

    def _fitting(self, argument: str) -> str:
        """Return an argument of an earlier start in a form that can be repeated, or empty.

        Settings added with ``+`` exist already, and settings removed with ``~`` do not.
        """
        key = argument.partition("=")[0]
        node: Any = self.settings
        for part in key.lstrip("+~").split("."):
            node = node.get(part, _ABSENT) if isinstance(node, dict) else _ABSENT
        is_there = node is not _ABSENT
        if argument.startswith("+") and is_there:
            return f"++{argument.lstrip('+')}"
        return "" if argument.startswith("~") and not is_there else argument


def own_settings(folder: Path) -> OwnSettings | None:
    """Return the settings of the run in ``folder``; None if it has not written them.

    Values are read from ``config.yaml``, and interpolations from ``.hydra/config.yaml``.

    Raises:
        UserError: A file cannot be read.
    """
    values, written = (_read(path) for path in (folder / "config.yaml", _hidden(folder, "config")))
    if values is None:
        return None
    for name in ("defaults", "hydra"):
        if name in values:
            raise UserError(f"{folder / 'config.yaml'}: {name} is not a setting; remove it")
    before = deepcopy(values)
    if written is not None:
        node = OmegaConf.create(written)
        values = _with_references(
            written, values, lambda key: _plain(OmegaConf.select(node, key, throw_on_missing=True))
        )
    hydra = _read(_hidden(folder, "hydra")) or {}
    choices = OmegaConf.select(OmegaConf.create(hydra), "hydra.runtime.choices") or {}
    named = {str(g): _plain(o) for g, o in choices.items() if "/" not in str(g)}
    values, before = (_filled(own, _defaults()) for own in (values, before))
    return OwnSettings(folder, values | _NOT_KEPT, before, named)


def _folder(group: str) -> Path:
    return conf_dir() / group


def _hidden(folder: Path, name: str) -> Path:
    return folder / ".hydra" / f"{name}.yaml"


def _root() -> Plain:
    """Return the content of train.yaml, which the caller may change."""
    return deepcopy(_parsed_root())


@cache
def _parsed_root() -> Plain:
    return cast(Plain, OmegaConf.to_container(OmegaConf.load(conf_dir() / "train.yaml")))


def _defaults() -> Plain:
    return {key: value for key, value in _root().items() if key not in ("defaults", "hydra")}


def _read(path: Path) -> Plain | None:
    """Read a file of settings; None if it is missing."""
    if not path.is_file():
        return None
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (yaml.YAMLError, OSError, ValueError, OmegaConfBaseException) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path}: cannot be read ({reason}); restore it, or start a new run"
        ) from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: contains no settings; restore it, or start a new run")
    return cast(Plain, content)


def _with_references(
    written: Mapping[str, Any], values: Mapping[str, Any], resolved: Callable[[str], Any],
    place: str = "",
) -> Plain:  # fmt: skip
    """Return ``values`` with those interpolations of ``written`` that resolve to the same values.

    The run folder is always interpolated, since it may have moved.
    """
    merged: Plain = {}
    for key, value in values.items():
        reference, name = written.get(key), f"{place}{key}"
        merged[key] = value
        if isinstance(reference, dict) and isinstance(value, dict):
            merged[key] = _with_references(reference, value, resolved, f"{name}.")
        elif (
            isinstance(reference, str)
            and "${" in reference
            and ("${hydra:" in reference or _same(resolved, name, value))
        ):
            merged[key] = reference
    return merged


def _same(resolved: Callable[[str], Any], name: str, value: Any) -> bool:
    try:
        return bool(resolved(name) == value)
    except (OmegaConfBaseException, ValueError):  # of an unset variable
        return False


def _filled(settings: Plain, defaults: Mapping[str, Any]) -> Plain:
    """Add settings that are new in this version, outside constructors' sections."""
    for key, value in defaults.items():
        if key not in settings:
            settings[key] = value
        elif isinstance(value, dict) and isinstance(settings[key], dict):
            _filled(settings[key], value)
    return settings


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _chosen(group: str, option: str) -> Any:
    return OverridesParser.create().parse_override(f"{group}={option}").value()


def _named(option: Any) -> str:
    if isinstance(option, list):
        return f"[{','.join(map(str, option))}]"
    return "null" if option is None else str(option)


def _is_global(group: str) -> bool:
    """Return True if options of a group affect more than their section."""
    texts = (path.read_text() for path in _folder(group).glob("*.yaml"))
    return any("@package _global_" in text for text in texts)


def _composed(arguments: list[str], config_dir: str | None) -> Plain:
    own = [f"hydra.searchpath=[file://{Path(config_dir).absolute()}]"] if config_dir else []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return cast(Plain, OmegaConf.to_container(composed([*arguments, *own])))
