"""Dynamic Clustering and Cluster Contrastive learning (DCCC) for unsupervised person re-ID."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("dccc-lightning")
except PackageNotFoundError:  # a source tree on PYTHONPATH, never installed
    __version__ = "0+source"

# What the package offers at its top, and where it lies; imported at first use, torch with it.
_PUBLIC = {
    "GalleryIndex": "dccc_lightning.gallery.gallery_index",
    "load_embedder": "dccc_lightning.inference.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
