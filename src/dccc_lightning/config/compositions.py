"""Compositions of settings, each made once in a process, from files that are parsed once."""

import copy
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from hydra import compose
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

_OF_PACKAGE = frozenset(["hydra", "main", "schema"])
"""Providers of configuration files that do not change while a process runs."""


class ParsedFiles(FileConfigSource):
    """Source of configuration files that parses a file again only after it was changed.

    Hydra composes a run's settings twice, the package compares them with presets, and each of
    these compositions would parse the same 20 files.
    """

    _known: ClassVar[dict[tuple[str, Path, int, int], ConfigResult]] = {}

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a file's settings and header, which the caller may change."""
        path = Path(self.path, self._normalize_file_name(config_path))
        try:
            state = path.stat()
        except OSError:
            return super().load_config(config_path)
        key = (self.provider, path, state.st_mtime_ns, state.st_size)
        if key not in self._known:
            self._known[key] = super().load_config(config_path)
        return copy.deepcopy(self._known[key])


def register() -> None:
    """Let Hydra read files through ``ParsedFiles``."""
    Plugins.instance()  # registers Hydra's own sources, and refuses to do so after this
    SourcesRegistry.instance().types[ParsedFiles.scheme()] = ParsedFiles


def composed(overrides: Iterable[str] = ()) -> DictConfig:
    """Compose settings, unresolved, within an initialised Hydra.

    Those of the package's own files are kept, and must not be changed by the caller.

    Raises:
        HydraException: An override is invalid.
    """
    chosen = tuple(overrides)
    sources = tuple(
        (source.provider, source.path)
        for source in GlobalHydra.instance().config_loader().get_sources()
    )
    own = {provider for provider, _ in sources} - _OF_PACKAGE
    if own or any(override.startswith("hydra.searchpath") for override in chosen):
        return compose("train", list(chosen))
    return _composed(sources, chosen)


@lru_cache(maxsize=64)
def _composed(sources: tuple[tuple[str, str], ...], overrides: tuple[str, ...]) -> DictConfig:
    """Compose settings; ``sources`` are the key of what Hydra was initialised with."""
    return compose("train", list(overrides))
