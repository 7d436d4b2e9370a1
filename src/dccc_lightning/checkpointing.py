"""Checkpoints that are complete or absent, and read without running code from them."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dccc_lightning.errors import UserError
from dccc_lightning.files import write_atomically


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
        write_atomically(Path(path), buffer.getvalue())


def check_checkpoint(path: Path) -> None:
    """Make sure that ``path`` is a whole checkpoint of this package.

    Raises:
        UserError: It is damaged, or from elsewhere.
    """
    try:
        content = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:
        raise UserError(
            f"resume: {path} is damaged or no checkpoint ({type(error).__name__}); resume from "
            "another folder, or start anew with model.weights=PATH of a whole one"
        ) from error
    if not isinstance(content, dict) or "ReIDDataModule" not in content:
        raise UserError(f"resume: {path} is not a checkpoint of a run of this package")
