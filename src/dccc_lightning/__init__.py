"""Dynamic Clustering and Cluster Contrastive learning (DCCC) for unsupervised person re-ID."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dccc-lightning")
except PackageNotFoundError:  # a source tree on PYTHONPATH, never installed
    __version__ = "0+source"
