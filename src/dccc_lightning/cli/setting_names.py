"""Names of settings and options in the package's and a custom configuration."""

import difflib
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from dccc_lightning.config.compositions import composed


def folders(conf_dir: Path, arguments: Sequence[str]) -> list[Path]:
    """Return the configuration folders: the package's and that of ``--config-dir``."""
    own = []
    for flag, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, is_joined, value = flag.partition("=")
        if name in ("--config-dir", "-cd") and (is_joined or following):
            own.append(Path(value if is_joined else following))
    return [conf_dir, *(folder.absolute() for folder in own if folder.is_dir())]


def groups(places: Iterable[Path]) -> list[str]:
    """Return the names of the groups."""
    return sorted({p.name for place in places for p in place.iterdir() if p.is_dir()})


def options(places: Iterable[Path], group: str) -> list[str]:
    """Return the options of a group; options of nested groups as ``inner/option``."""
    return sorted(
        str(path.relative_to(place / group).with_suffix(""))
        for place in places
        for path in (place / group).rglob("*.yaml")
    )


def keys(places: Sequence[Path], arguments: Sequence[str]) -> list[str]:
    """Return all dotted keys and groups of the configuration with the given group choices."""
    known = groups(places)
    choices = [a for a in arguments if re.fullmatch(rf"({'|'.join(known)})=[\w-]+", a)]
    own = ",".join(f"'file://{place}'" for place in places[1:])
    path = [f"hydra.searchpath=[{own}]"] if own else []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(places[0]), version_base="1.3"):
        for chosen in ([*path, *choices], path, []):  # a choice may be invalid
            try:
                config = composed(chosen)
                break
            except HydraException:
                continue
    return [*known, *flatten(OmegaConf.to_container(config, resolve=False), "")]


_MOST_NAMED = 4
"""Options that advice names; of more the number."""


def flatten(node: object, prefix: str) -> list[str]:
    """Return the dotted keys of a configuration."""
    if not isinstance(node, dict):
        return []
    found: list[str] = []
    for name in node:
        if name != "_target_":
            found += [f"{prefix}{name}", *flatten(node[name], f"{prefix}{name}.")]
    return found


def elsewhere(key: str, places: Sequence[Path]) -> str:
    """Return advice that names the options of a group that have a setting."""
    group, _, inner = key.partition(".")
    files = sorted(file for place in places for file in (place / group).glob("*.yaml"))
    having = []
    for file in files if inner else []:
        settings = OmegaConf.to_container(OmegaConf.load(file))  # unresolved
        is_global = "@package _global_" in file.read_text()
        if (key if is_global else inner) in flatten(settings, ""):
            having.append(f"{group}={file.stem}")
    if len(having) > _MOST_NAMED + 1:
        having = [", ".join(having[:_MOST_NAMED]), f"{len(having) - _MOST_NAMED} others"]
    return f"with {' or '.join(having)}" if having else ""


def nearest_option(group: str, option: str, valid: Sequence[str]) -> str:
    """Return advice with the nearest option of a group and all valid ones."""

    def plain(name: str) -> str:
        return re.sub(r"[^a-z0-9]", "", name.lower())

    near = [name for name in valid if plain(name) == plain(option)]
    near = near or difflib.get_close_matches(option, valid, 1, 0.6)
    meant = f"did you mean {group}={near[0]}? " if near else ""
    return f"{meant}valid: {', '.join(valid)}"


def nearest_key(name: str, known: Iterable[str], value: str = "") -> str:
    """Return advice with the nearest settings and the given value."""
    candidates = sorted(set(known))
    sections = {key.rpartition(".")[0] for key in candidates}
    candidates = [c for c in candidates if c not in sections or "." not in name]
    near = difflib.get_close_matches(name, candidates, 3, 0.75)
    leaf = name.rpartition(".")[2]
    near += [
        c for c in candidates if difflib.get_close_matches(leaf, [c.rpartition(".")[2]], 1, 0.8)
    ]
    if near:
        given = f"={value}" if value else ""
        return f"did you mean {' or '.join(f'{n}{given}' for n in dict.fromkeys(near[:4]))}?"
    return "--cfg job shows all settings"
