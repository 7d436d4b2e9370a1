"""Fetch and check the wheels that a machine with PyTorch and no network lacks for this package.

    python benchmarks/gpu_check/wheels.py --python 3.12 --there packages.txt

They are put into .whl, from where ``run.sh`` installs them. ``packages.txt`` is what ``pip list
--format=freeze`` prints there; without it the machine is taken to have PyTorch, Lightning and the
usual scientific packages, and no Hydra, faiss or TorchCodec. The versions are those of
constraints.txt. faiss is the build for CPUs: that for GPUs needs CUDA 12 libraries of 0.6 GB.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.tags import sys_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 64 << 20
"""Bytes that the loan of a machine carries, the files of the repository included."""

USUAL = ("hydra-core", "omegaconf", "antlr4-python3-runtime", "faiss-cpu", "torchcodec")
OPTIONAL = ("wandb",)
"""Dependencies that no part of the check imports."""

FOR_TESTS = ("pytest", "pytest-timeout", "hypothesis", "timm", "torchcodec")
PLATFORMS = tuple(f"manylinux{glibc}_x86_64" for glibc in ("_2_28", "_2_27", "_2_17", "2014", "1"))
MODULES = {"hydra-core": "hydra", "antlr4-python3-runtime": "antlr4", "faiss-cpu": "faiss",
           "pytorch-lightning": "pytorch_lightning", "scikit-learn": "sklearn", "pillow": "PIL",
           "pytest-timeout": "pytest_timeout"}  # fmt: skip


def pins() -> dict[str, str]:
    """Return the versions of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().split()
    found = {canonicalize_name(name): pin for name, pin in (line.split("==") for line in lines)}
    return found | {"faiss-cpu": found["faiss-gpu"]}


def names_in(listing: str) -> set[str]:
    """Return the names of packages in what ``pip list --format=freeze`` printed."""
    return {canonicalize_name(re.split(r"[=<>@\s]", line, maxsplit=1)[0])
            for line in listing.splitlines() if line.strip()}  # fmt: skip


def lacking(there: set[str] | None) -> list[str]:
    """Return what a machine with these packages lacks."""
    if there is None:
        return list(USUAL)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [canonicalize_name(Requirement(one).name) for one in project["dependencies"]]
    needed = ["faiss-cpu" if name == "faiss-gpu" else name for name in needed]
    wanted = dict.fromkeys([*needed, "antlr4-python3-runtime", *FOR_TESTS])
    given = there | ({"faiss-cpu"} if "faiss-gpu" in there else set())
    return [name for name in wanted if name not in given and name not in OPTIONAL]


def fetch(name: str, version: str, python: str, folder: Path) -> None:
    """Download a wheel, or build it where only its source is published."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    platforms = [word for each in PLATFORMS for word in ("--platform", each)]
    got = subprocess.run(
        [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version",
         python, "--implementation", "cp", *platforms, "--dest", str(folder), f"{name}=={version}"],
        check=False, capture_output=True,
    )  # fmt: skip
    if got.returncode:
        subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder),
                        f"{name}=={version}"], check=True)  # fmt: skip


def missing_requirements(wheel: Path, given: set[str], python: str) -> list[str]:
    """Return what a wheel requires that is neither carried nor there."""
    with zipfile.ZipFile(wheel) as archive:
        about = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        header = HeaderParser().parsestr(archive.read(about).decode())
    environment = {**default_environment(), "python_version": python, "extra": ""}
    required = map(Requirement, header.get_all("Requires-Dist", []))
    return [
        one.name
        for one in required
        if (one.marker is None or one.marker.evaluate(environment))
        and canonicalize_name(one.name) not in given
    ]


def imported(wheel: Path, name: str) -> str:
    """Import a wheel's module in a process of its own and return the outcome."""
    tags = parse_wheel_filename(wheel.name)[3]
    if not tags & set(sys_tags()):
        return "not imported: for another Python than this one"
    module = MODULES.get(name, name.replace("-", "_"))
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        code = (
            f"import sys; sys.path.insert(0, {folder!r})\nimport {module} as m; print(m.__file__)"
        )
        got = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True,
                             text=True)  # fmt: skip
    if got.returncode:
        return f"IMPORT FAILED: {got.stderr.strip().splitlines()[-1]}"
    return "imported" if got.stdout.startswith(folder) else "IMPORT FAILED: another one was found"


def carried_bytes(folder: Path) -> int:
    """Return the bytes of the wheels and of the files of the repository."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], check=True, capture_output=True)
    files = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    return sum(path.stat().st_size for path in [*files, *folder.glob("*.whl")] if path.is_file())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default="3.12", help="of that machine")
    parser.add_argument("--there", type=Path, help="what pip list --format=freeze prints there")
    parser.add_argument("--into", type=Path, default=ROOT / ".whl")
    options = parser.parse_args()
    there = names_in(options.there.read_text()) if options.there else None
    wanted, versions, bad = lacking(there), pins(), []
    options.into.mkdir(exist_ok=True)
    for old in options.into.glob("*.whl"):
        old.unlink()
    for name in wanted:
        fetch(name, versions[name], options.python, options.into)
    for wheel in sorted(options.into.glob("*.whl")):
        name, version, *_ = parse_wheel_filename(wheel.name)
        outcome = imported(wheel, name)
        lacks = missing_requirements(wheel, {*wanted, *there}, options.python) if there else []
        if lacks or "FAILED" in outcome:
            bad.append(name)
        size = wheel.stat().st_size / 1e6
        print(f"{name:24}{version!s:10}{size:7.1f} MB  {outcome}"
              + (f"; lacks {', '.join(lacks)}" if lacks else ""))  # fmt: skip
    total = carried_bytes(options.into)
    print(f"with the files of the repository {total / 2**20:.1f} of {LIMIT >> 20} MiB")
    return int(bool(bad) or total > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
