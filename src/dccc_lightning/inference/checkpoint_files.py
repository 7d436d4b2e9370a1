"""Search for checkpoint files, without torch."""

from pathlib import Path

from dccc_lightning.errors import UserError

NETWORKS = ("auto", "student", "teacher")
"""Choices of a checkpoint's network."""

_CANDIDATES = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "weights.pt")


def find_checkpoint(path: Path) -> Path:
    """Return ``path`` if it is a file, or the best checkpoint of a run folder.

    Raises:
        UserError: No checkpoint exists.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file; give a checkpoint, a run folder, or bundled")
    for candidate in _CANDIDATES:
        if (path / candidate).is_file():
            return path / candidate
    raise UserError(f"{path}: not a run folder, it contains none of {', '.join(_CANDIDATES)}")
