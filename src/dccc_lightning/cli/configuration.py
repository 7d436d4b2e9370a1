"""Location of the package's configuration."""

from pathlib import Path


def conf_dir() -> Path:
    """Return the configuration folder of the installed package, else of the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"
