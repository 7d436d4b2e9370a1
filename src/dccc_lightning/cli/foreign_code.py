"""Detection of code outside the package that a configuration would import and run."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import dccc_lightning
from dccc_lightning.cli.configuration import conf_dir
from dccc_lightning.cli.resume import Start
from dccc_lightning.common.overrides import config_dir_of, path_argument, split_flags
from dccc_lightning.common.ranks import is_first_process
from dccc_lightning.errors import UserError

_TARGET = re.compile(r"(?:_target_|class|\(\)|queue|listener|ext:)['\"]?\s*[:=/]+\s*['\"]?([\w.]+)")

_OF_LOGGING = ("class", "()", "queue", "listener")
"""Keys of Python's logging configuration that import code."""

_OF_HYDRA = {
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "sys.stdout",
}
"""Targets in Hydra's default configuration."""


def check_hydra(start: Start, arguments: Sequence[str], root: str) -> None:
    """Check code named in the section ``hydra``, before Hydra imports it.

    Args:
        start: Start of the command.
        arguments: Arguments for Hydra.
        root: Name of the primary configuration.

    Raises:
        UserError: The code is not trusted.
    """
    if start.folder is None and start.config_dir is None:
        return
    flags, given = split_flags(arguments)
    places = create_config_search_path(str(conf_dir()))
    if own := config_dir_of(flags):
        query = SearchPathQuery(provider="schema")  # as Hydra does
        places.prepend("command-line", f"file://{Path(own).absolute()}", query)
    version.setbase("1.3")
    # Composed as for a sweep, whose choices are not values yet.
    config = ConfigLoaderImpl(places).load_configuration(
        root, given, RunMode.MULTIRUN, validate_sweep_overrides=False
    )
    check_code(start, {"hydra": _resolved(config.hydra), "trust": config.trust})


def check_code(start: Start, settings: Mapping[str, Any]) -> None:
    """Check code outside the package in a configuration, before it is imported.

    Code named by the command line or its ``--config-dir`` is trusted. Code named only in the folder
    of a resumed run needs ``trust=true``, since the folder may come from anywhere. Trusted code is
    printed in a note.

    Raises:
        UserError: The code is not trusted.
    """
    if start.folder is None and start.config_dir is None:
        return
    own = Path(start.config_dir).rglob("*.yaml") if start.config_dir else ()
    given = named_in(start.given)
    known = given | named_in(path.read_text(errors="replace") for path in own)
    found = [(name, target) for name, target in foreign_targets(settings) if target not in given]
    unknown = [f"{name}={target}" for name, target in found if target not in known]
    if unknown and start.folder is not None and settings["trust"] is not True:
        raise UserError(
            f"{path_argument('resume', start.folder)}: its settings run code outside "
            f"dccc_lightning: {', '.join(unknown)}; add trust=true if you know where the folder "
            "comes from"
        )
    if found and is_first_process():
        named = ", ".join(f"{name}={target}" for name, target in found)
        print(f"note: code outside dccc_lightning: {named}", file=sys.stderr, flush=True)


def foreign_targets(settings: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted name and target of settings that name code outside the package.

    Targets in the package's presets, such as Lightning's callbacks, are not included.

    Args:
        settings: Resolved settings, as plain containers.
        place: Prefix of their names, with a dot at its end.
    """
    ours = _OF_HYDRA | named_in(path.read_text() for path in conf_dir().rglob("*.yaml"))
    yield from ((n, t) for n, t in _targets(settings, place) if t not in ours and not _is_ours(t))


def named_in(texts: Iterable[str]) -> set[str]:
    """Return the targets in texts of configurations or arguments."""
    return {target for text in texts for target in _TARGET.findall(text)}


def _targets(settings: Any, place: str) -> Iterator[tuple[str, str]]:
    parts = settings.items() if isinstance(settings, Mapping) else enumerate(settings)
    for key, value in parts:
        is_logged = isinstance(value, str) and (key in _OF_LOGGING or value.startswith("ext://"))
        if key == "_target_" or (is_logged and place.startswith("hydra.")):
            yield f"{place}{key}", str(value).removeprefix("ext://")
        elif isinstance(value, (Mapping, list)):
            yield from _targets(value, f"{place}{key}.")


def _resolved(node: Any) -> Any:
    """Return plain containers, with interpolations kept that cannot be resolved before a run."""
    if not OmegaConf.is_config(node):
        return node
    plain: Any = OmegaConf.to_container(node)
    for key in plain if isinstance(plain, dict) else range(len(plain)):
        with suppress(OmegaConfBaseException):
            plain[key] = _resolved(node[key])
    return plain


def _is_ours(target: str) -> bool:
    """Return True if a target is defined in this package, without importing it.

    A prefix is not sufficient: ``dccc_lightning.common.files.os.remove`` has it, too.
    """
    package, *parts, name = [*target.split("."), ""] if "." not in target else target.split(".")
    if package != "dccc_lightning" or not all(part.isidentifier() for part in parts):
        return False
    module = Path(dccc_lightning.__file__).parent.joinpath(*parts)
    for path in (module.with_suffix(".py"), module / "__init__.py"):
        if path.is_file():
            body = ast.parse(path.read_text()).body
            return any(isinstance(node, ast.ClassDef) and node.name == name for node in body)
    return False
