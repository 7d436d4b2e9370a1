"""Packages of others for slow tests, in an environment of their own beside this one."""

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

_NOT_REACHED = 2
"""Exit status of uv without an index."""


def foreign_python(
    made_once: Callable[..., Path],
    *requirements: str,
    dependencies: bool = False,
    apart: bool = False,
) -> str:
    """Return a Python that imports these packages; skip the test where no index can be reached.

    They are installed without what they depend on: that is taken from this environment, unless
    ``dependencies`` is true. With ``apart`` nothing is taken from it, and nothing is seen of it.
    """
    name = "-".join(requirement.partition("==")[0] for requirement in requirements)
    name += "-apart" if apart else "-whole" if dependencies else ""
    install = [*requirements, *([] if dependencies or apart else ["--no-deps"])]
    folder = made_once(f"foreign/{name}", lambda path: _install(path, install, apart))
    python = folder / "bin" / "python"
    if not python.exists():
        # Their own dependencies contradict ours, so no extra can have them; `make` lists the skips.
        pytest.skip(f"no index for {', '.join(requirements)}: {_reason(folder)}")
    return str(python)


def run_foreign(python: str, script: str, *arguments: str | Path, given: str = "") -> str:
    """Return the output of a script."""
    command = [python, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _install(folder: Path, requirements: list[str], apart: bool) -> None:
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    command = [*uv, "pip", "install", "--quiet", "--python", str(folder), *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode == _NOT_REACHED:
        (folder / "bin" / "python").unlink()
        (folder / "reason.txt").write_text(done.stderr)
        return
    assert done.returncode == 0, done.stderr  # such as 1: the index has no such version
    if apart:
        return
    ours = Path(sysconfig.get_path("purelib"))
    (next(folder.glob("lib/python*/site-packages")) / "ours.pth").write_text(f"{ours}\n")


def _reason(folder: Path) -> str:
    return " ".join((folder / "reason.txt").read_text().split())[-200:]
