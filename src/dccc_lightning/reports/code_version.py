"""Version and commit of the code of a run."""

import subprocess
from pathlib import Path
from typing import Any

import dccc_lightning


def code_version() -> dict[str, Any]:
    """Return the version of the package and, run from a checkout, its commit.

    Returns:
        ``version``; ``commit`` and ``modified`` (whether the package's files differ from that
        commit), both None if the package is not in a git repository.
    """
    # The second name fails where a repository merely holds the environment we are installed in.
    revisions = _git("rev-parse", "HEAD", "HEAD:./__init__.py")
    commit = None if revisions is None else revisions.split()[0]
    return {
        "version": dccc_lightning.__version__,
        "commit": commit,
        "modified": None if commit is None else bool(_git("status", "--porcelain", "--", ".")),
    }


def _git(*arguments: str) -> str | None:
    """Return the output of git in the package's folder; None if it fails or is missing."""
    folder = Path(dccc_lightning.__file__).parent
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout
