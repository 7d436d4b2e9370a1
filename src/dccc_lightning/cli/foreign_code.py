"""Code outside the package that a configuration names: what ``_target_`` would import."""

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
"""Settings of Python's logging that name code, in Hydra's section."""

_OF_HYDRA = {
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "sys.stdout",
}
"""What Hydra's own configuration names."""


def check_hydra(start: Start, arguments: Sequence[str], root: str) -> None:
    """Name the code that the section ``hydra`` would run, before Hydra imports it.

    Args:
        start: How the command begins.
        arguments: For Hydra.
        root: Name of the primary configuration.

    Raises:
        UserError: It is not trusted.
    """
    if start.folder is None and start.config_dir is None:
        return
    flags, given = split_flags(arguments)
    places = create_config_search_path(str(conf_dir()))
    if own := config_dir_of(flags):
        query = SearchPathQuery(provider="schema")  # as Hydra does
        places.prepend("command-line", f"file://{Path(own).absolute()}", query)
    version.setbase("1.3")
    # As for a sweep, whose choices are no values yet.
    config = ConfigLoaderImpl(places).load_configuration(
        root, given, RunMode.MULTIRUN, validate_sweep_overrides=False
    )
    check_code(start, {"hydra": _resolved(config.hydra), "trust": config.trust})


def check_code(start: Start, settings: Mapping[str, Any]) -> None:
    """Name the code outside the package that a configuration would run, before it is imported.

    What the user's own command line names needs no word. A folder may come from anywhere: what it
    alone names, and neither an argument nor a given ``--config-dir``, needs ``trust=true``.

    Raises:
        UserError: It is not trusted.
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
    """Yield what settings name of other packages: dotted setting, and what it would import.

    The parts of other packages that the presets name, such as Lightning's callbacks, are ours.

    Args:
        settings: Resolved, as plain containers.
        place: Of them, with a dot at its end.
    """
    ours = _OF_HYDRA | named_in(path.read_text() for path in conf_dir().rglob("*.yaml"))
    yield from ((n, t) for n, t in _targets(settings, place) if t not in ours and not _is_ours(t))


def named_in(texts: Iterable[str]) -> set[str]:
    """Return the targets that are written in configurations, or given as arguments."""
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
    """Return plain containers; what has no value before a run begins stays as it is written."""
    if not OmegaConf.is_config(node):
        return node
    plain: Any = OmegaConf.to_container(node)
    for key in plain if isinstance(plain, dict) else range(len(plain)):
        with suppress(OmegaConfBaseException):
            plain[key] = _resolved(node[key])
    return plain


def _is_ours(target: str) -> bool:
    """Tell whether a class is defined in this package, without importing anything.

    To begin with its name is not enough: ``dccc_lightning.common.files.os.remove`` does, too.
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
