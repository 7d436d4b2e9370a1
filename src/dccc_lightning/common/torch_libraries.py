"""CUDA libraries that torch loads when it is imported, for processes of the command line."""

import glob
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any


def load_own_libraries() -> bool:
    """Keep torch from loading the CUDA libraries of another version when it is imported.

    torch loads the libraries of NVIDIA's packages by file names that fit every version of CUDA.
    With CUDA 13 it so loads those of CUDA 12 as well, which faiss-gpu installs beside its own: 210
    MB of resident memory that nothing uses. faiss loads them itself where it searches.

    Call it before torch is imported.

    Returns:
        True unless torch is imported already.
    """
    if "torch" in sys.modules:
        return False
    sys.meta_path.insert(0, _TorchFinder())
    return True


class _TorchFinder(MetaPathFinder):
    """Finder that imports torch once, with its own libraries only."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of torch; None of other modules."""
        if name != "torch":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute: Callable[[ModuleType], None] = spec.loader.exec_module

        def execute_once(module: ModuleType) -> None:
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            with own_libraries():
                execute(module)

        vars(spec.loader)["exec_module"] = execute_once
        return spec


@contextmanager
def own_libraries() -> Iterator[None]:
    """Hide libraries of ``nvidia/NAME`` from ``glob`` if ``nvidia/cuVERSION`` has torch's own."""
    find = glob.glob

    def find_own(pattern: str, *args: Any, **kwargs: Any) -> list[str]:
        *_, packages, name, folder, file = ("", "", "", *Path(pattern).parts)
        cuda = getattr(sys.modules.get("torch.version"), "cuda", None)
        if (packages, folder) == ("nvidia", "lib") and cuda:
            own = Path(pattern).parents[2] / f"cu{cuda.partition('.')[0]}" / "lib"
            if name != own.parent.name and find(str(own / file)):
                return []
        return find(pattern, *args, **kwargs)

    vars(glob)["glob"] = find_own
    try:
        yield
    finally:
        glob.glob = find
