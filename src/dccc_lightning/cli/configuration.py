"""Where the package's own configuration lies."""

from pathlib import Path


def conf_dir() -> Path:
    """Return the folder of the configuration: in the installed package, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"
