"""Lazy imports of a package's public names (PEP 562)."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def imported_lazily(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` that import public names at their first use.

    Args:
        package: ``__name__`` of the package.
        modules: Module of each public name, relative to the package.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return get, lambda: sorted(modules)
