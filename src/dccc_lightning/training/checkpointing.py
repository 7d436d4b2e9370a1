"""Atomic writing and safe reading of checkpoints."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dccc_lightning import __version__
from dccc_lightning.common.files import write_atomically
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.errors import UserError
from dccc_lightning.models.network import Embedder

LAST = "last.ckpt"
"""Checkpoint from which a run resumes."""

PREVIOUS = "previous.ckpt"
"""Predecessor of ``LAST``."""


def describe_network(embedder: Embedder, data: Any) -> dict[str, Any]:
    """Return the description with which a network can be built again.

    Args:
        embedder: Network; without ``architecture``, the description is empty.
        data: ``ReIDDataModule`` with which it was trained, whose images had its size and filter,
            and were embedded with its rotations; or None.
    """
    if data is None or not embedder.architecture:
        return {}
    layout = replace(embedder.layout, interpolation=data.interpolation).options()
    model = {key: value for key, value in embedder.architecture.items() if key != "layout"}
    turns = {"rotations": data.rotations, "match": data.match}
    fit = {} if data.fit == "stretch" else {"fit": data.fit}
    return {
        "format": 1,
        "version": __version__,
        "model": model | ({"layout": layout} if layout else {}),
        "image": {"height": data.height, "width": data.width} | fit,
        "dataset": data.dataset.name,
    } | ({} if data.rotations == 1 else {"embedding": turns})


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint plugin that writes a temporary file beside the target and renames it.

    Lightning's plugin uses the system's temporary folder; if that is on another file system, the
    final step is a copy, which is not atomic.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Serialise in memory and write the file atomically."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getbuffer())


def checkpoint_of(run: Path, which: str) -> Path | None:
    """Return the checkpoint from which a run resumes; None if it has none.

    Args:
        run: Run folder.
        which: ``last`` or ``previous``.

    Raises:
        UserError: The checkpoint is damaged or of another program; the message suggests its
            predecessor if that is intact.
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
    remedy = f"start in another folder, for example with model.weights={folder / 'best.ckpt'}"
    if which == "last" and before.exists() and _problem(before) is None:
        content = torch.load(before, map_location="meta", weights_only=True)
        when = f"epoch {content['epoch'] + 1}, step {content['global_step']}"
        again = path_argument("resume", run)
        remedy = f"its predecessor of {when} is intact: {again} ckpt_path=previous"
    raise UserError(f"{path} {problem}; {remedy}")


def _problem(path: Path) -> str | None:
    """Return the problem of a checkpoint; None for an intact one of this package."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not verify the checksums
        if damaged is not None:
            return f"is damaged ({damaged})"
        content = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:
        return f"is damaged or not a checkpoint ({type(error).__name__})"
    if not isinstance(content, dict) or "ReIDDataModule" not in content:
        return "is not a checkpoint of a run of this package"
    return None
