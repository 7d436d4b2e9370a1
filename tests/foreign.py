"""Packages of others for slow tests, in an environment of their own beside this one."""

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest


def foreign_python(
    made_once: Callable[..., Path], *requirements: str, dependencies: bool = False
) -> str:
    """Return a Python that imports these packages; skip the test where they cannot be installed.

    They are installed without what they depend on: that is taken from this environment, unless
    ``dependencies`` is true.
    """
    name = "-".join(requirement.partition("==")[0] for requirement in requirements)
    name += "-whole" if dependencies else ""
    install = [*requirements, *([] if dependencies else ["--no-deps"])]
    folder = made_once(f"foreign/{name}", lambda path: _install(path, install))
    python = folder / "bin" / "python"
    if not python.exists():
        pytest.skip(f"not installable here: {', '.join(requirements)}: {_reason(folder)}")
    return str(python)


def run_foreign(python: str, script: str, *arguments: str | Path, given: str = "") -> str:
    """Return the output of a script."""
    command = [python, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _install(folder: Path, requirements: list[str]) -> None:
    uv = [sys.executable, "-m", "uv"]
    made = [*uv, "venv", "--quiet", "--python", sys.executable, str(folder)]
    installed = [*uv, "pip", "install", "--quiet", "--python", str(folder)]
    for command in (made, [*installed, *requirements]):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            (folder / "bin" / "python").unlink(missing_ok=True)
            (folder / "reason.txt").write_text(done.stderr)
            return
    ours = Path(sysconfig.get_path("purelib"))
    (next(folder.glob("lib/python*/site-packages")) / "ours.pth").write_text(f"{ours}\n")


def _reason(folder: Path) -> str:
    return " ".join((folder / "reason.txt").read_text().split())[-200:]
