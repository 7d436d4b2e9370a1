"""Base of the datasets that are drawn on first use, and the cache of what they drew."""

import hashlib
import itertools
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from dccc_lightning.common import checks
from dccc_lightning.common.faults import explain_unknown_home
from dccc_lightning.data.drafts import drafted
from dccc_lightning.data.image_formats import has_image_suffix
from dccc_lightning.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MANIFEST = "manifest.json"

Part = TypeVar("Part")


class DrawnDataset(ABC):
    """Dataset whose files are a function of its settings, drawn into a cache folder.

    Args:
        root: Folder of drawn datasets; None for ``$DCCC_CACHE``, else
            ``$XDG_CACHE_HOME/dccc_lightning``, else ``~/.cache/dccc_lightning``.
        name: Name of the dataset in logs and reports; not part of the cache key.

    Attributes:
        prefix: Beginning of the names of the cache folders.
        renderer: Version of the drawing code, in the names too.
        world: Settings that determine the files.
    """

    prefix: ClassVar[str]
    renderer: ClassVar[int]
    world: "DataclassInstance"

    def __init__(self, root: str | os.PathLike[str] | None, name: str) -> None:
        self.name = name
        self._is_chosen = root is not None
        self.root = default_root() if root is None else checks.path("root", root)

    @property
    def folder(self) -> Path:
        """Cache folder of this dataset, drawn or not."""
        return self.root / cache_key(self.prefix, self.renderer, self.world)

    @abstractmethod
    def draw(self, folder: Path) -> None:
        """Draw all files into an existing folder."""

    def drawn(self) -> Path:
        """Return the folder with the files, after drawing them unless they are cached.

        Raises:
            UserError: The cache cannot be written.
        """
        if not self.folder.is_dir():
            self._check_root()
            try:
                with drafted(self.folder, f"{self.prefix}*") as draft:
                    self.draw(draft)
            except OSError as error:
                # Renaming onto a non-empty folder fails: another process has drawn the same files.
                if not self.folder.is_dir():
                    raise UserError(
                        f"{self.name}: cannot write to {self.root} ({error.strerror}); "
                        "set dataset.root"
                    ) from error
        return self.folder

    def check_manifest(self, **facts: Any) -> None:
        """Compare ``facts`` of the files that were found with those that were drawn.

        Raises:
            UserError: They differ.
        """
        manifest = self.folder / MANIFEST
        stored = json.loads(manifest.read_text()) if manifest.is_file() else {}
        if any(stored.get(name) != value for name, value in facts.items()):
            raise UserError(f"{self.name}: files are missing in {self.folder}; delete the folder")

    def _check_root(self) -> None:
        """Raise an error if the folder has images, which a later training would mix with ours."""
        if not (self._is_chosen and self.root.is_dir()):
            return
        paths = [
            path for path in self.root.iterdir() if not path.name.startswith((".", self.prefix))
        ]
        files = itertools.chain(paths, *(path.iterdir() for path in paths if path.is_dir()))
        crop = next((path for path in files if has_image_suffix(path.name)), None)
        if crop is not None:
            raise UserError(
                f"dataset.root={self.root}: contains images ({crop.relative_to(self.root)}), "
                "synthetic ones would be added to them; use dataset=folder for your own images"
            )


def cache_key(prefix: str, renderer: int, world: "DataclassInstance") -> str:
    """Return the name of a cache folder, a hash of the settings and the renderer's version."""
    facts = json.dumps({**asdict(world), "renderer": renderer}, sort_keys=True)
    return f"{prefix}{hashlib.sha256(facts.encode()).hexdigest()[:16]}"


def write_manifest(folder: Path, renderer: int, world: "DataclassInstance", **facts: Any) -> None:
    """Write the settings and ``facts`` of the files in ``folder``."""
    stored = {"renderer": renderer, "settings": asdict(world), **facts}
    (folder / MANIFEST).write_text(json.dumps(stored, indent=2) + "\n")


def default_root() -> Path:
    """Return the cache folder set by the environment.

    Raises:
        UserError: There is no home folder either.
    """
    with explain_unknown_home():
        if chosen := os.environ.get("DCCC_CACHE"):
            return Path(chosen).expanduser()
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "dccc_lightning"


def in_processes(
    draw: Callable[[Part], int],
    parts: Sequence[Part],
    processes: int,
    advance: Callable[[int], None],
) -> None:
    """Draw parts of a dataset in several processes, in any order.

    Args:
        draw: Picklable function that draws a part and returns its number of images.
        parts: Parts.
        processes: Number of processes; 1 for this one.
        advance: Function that takes the number of images that were drawn.
    """
    if processes == 1 or len(parts) == 1:
        for count in map(draw, parts):
            advance(count)
        return
    # Forked workers start quickly and need no importable __main__.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(min(processes, len(parts)), context) as pool:
        for future in as_completed([pool.submit(draw, part) for part in parts]):
            advance(future.result())
