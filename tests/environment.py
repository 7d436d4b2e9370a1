"""The environment that the tests bring: nothing of the machine's cluster, accounts or settings."""

import os
from collections.abc import Mapping
from pathlib import Path

PREFIXES = (
    "SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "PMI_", "PMIX_", "OMPI_", "LSB_", "PBS_",
    "TORCHELASTIC_", "PL_", "WANDB_", "HYDRA_", "DCCC_", "XDG_",
)  # fmt: skip
NAMES = (
    "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "MASTER_ADDR", "MASTER_PORT", "CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "MPLBACKEND",
)  # fmt: skip
KEPT = ("DCCC_WEIGHTS_DIR",)  # real weights, for the tests that ask for them

THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

SLURM = ("sbatch", "srun", "salloc", "sacct", "scancel", "scontrol", "sinfo", "squeue")


def own_environment(given: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the variables of the tests: one thread, and a home folder of their own."""
    kept = {
        name: value
        for name, value in given.items()
        if name in KEPT or not (name in NAMES or name.startswith(PREFIXES))
    }
    path = without_slurm(given.get("PATH", os.defpath), home / "path")
    own = {"HOME": str(home), "PATH": path, "UV_CACHE_DIR": uv_cache(given)}
    return kept | own | dict.fromkeys(THREADS, "1")


def uv_cache(given: Mapping[str, str]) -> str:
    """Return the folder in which uv keeps what `make setup` has downloaded, some GB."""
    cache = given.get("XDG_CACHE_HOME") or str(Path(given.get("HOME", "~"), ".cache").expanduser())
    return given.get("UV_CACHE_DIR") or str(Path(cache, "uv"))


def without_slurm(path: str, shown: Path) -> str:
    """Return a PATH on which SLURM is not found, and everything else is.

    A folder that holds a command of SLURM is replaced by one of links to its other programs.
    """
    folders = path.split(os.pathsep)
    for number, folder in enumerate(map(Path, folders)):
        if any((folder / command).exists() for command in SLURM):
            folders[number] = str(shown / str(number))
            Path(folders[number]).mkdir(parents=True)
            for program in folder.iterdir():
                if program.name not in SLURM:
                    (shown / str(number) / program.name).symlink_to(program.absolute())
    return os.pathsep.join(folders)


def with_modules(folder: Path, **values: str) -> dict[str, str]:
    """Return the variables of a process that can import the modules in a folder too."""
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **values}
