"""The file of a checkpoint, found without torch."""

from pathlib import Path

from dccc_lightning.errors import UserError

NETWORKS = ("auto", "student", "teacher")
"""Networks of a checkpoint that may be chosen."""

_CANDIDATES = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "weights.pt")


def find_checkpoint(path: Path) -> Path:
    """Return the file to read: ``path``, or the best one of the folder of a run.

    Raises:
        UserError: There is none.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file; give a checkpoint, the folder of a run, or bundled")
    for candidate in _CANDIDATES:
        if (path / candidate).is_file():
            return path / candidate
    raise UserError(f"{path}: not the folder of a run, it holds none of {', '.join(_CANDIDATES)}")
