"""Checkpoints that are complete or absent, and read without running code from them."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dccc_lightning.common.files import write_atomically
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.errors import UserError

LAST = "last.ckpt"
"""Of a run: where it goes on."""

PREVIOUS = "previous.ckpt"
"""The ``LAST`` before that."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the target and rename.

    Lightning's own goes through the system's temporary folder; where that is another file system,
    the last step is a copy, which a kill can interrupt.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Serialise in memory, write, rename."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getbuffer())


def checkpoint_of(run: Path, which: str) -> Path | None:
    """Return the checkpoint from which the run in a folder goes on; None if it has none yet.

    Args:
        run: The run's folder.
        which: ``last`` or ``previous``.

    Raises:
        UserError: It is damaged or from elsewhere; the message offers the one before it.
    """
    folder = run / "checkpoints"
    path = folder / (PREVIOUS if which == "previous" else LAST)
    if not path.exists():
        if which == "previous":
            raise UserError(f"ckpt_path=previous: there is no {path}")
        return None
    problem = _problem(path)
    if problem is None:
        return path
    before = folder / PREVIOUS
    remedy = f"start anew in another folder, perhaps with model.weights={folder / 'best.ckpt'}"
    if which == "last" and before.exists() and _problem(before) is None:
        content = torch.load(before, map_location="meta", weights_only=True)
        when = f"epoch {content['epoch'] + 1}, step {content['global_step']}"
        again = path_argument("resume", run)
        remedy = f"the one before it, of {when}, is whole: {again} ckpt_path=previous"
    raise UserError(f"{path} {problem}; {remedy}")


def _problem(path: Path) -> str | None:
    """Return what is wrong with a checkpoint; None for a whole one of this package."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch itself does not look at the sums
        if damaged is not None:
            return f"is damaged ({damaged})"
        content = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:
        return f"is damaged or no checkpoint ({type(error).__name__})"
    if not isinstance(content, dict) or "ReIDDataModule" not in content:
        return "is not a checkpoint of a run of this package"
    return None
