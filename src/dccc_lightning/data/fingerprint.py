"""A fingerprint of a dataset: two runs that show the same one saw the same images."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from dccc_lightning.data.records import Splits
from dccc_lightning.errors import UserError

SPLITS = ("train", "query", "gallery")


def fingerprint(splits: Splits) -> dict[str, Any]:
    """Hash which images a dataset has, by split: path below its root, identity, camera, size.

    The bytes of images are not read: a file that was replaced by one of the same size goes
    unnoticed. ``task=verify`` reads them.

    Args:
        splits: Of the dataset.

    Returns:
        ``sha256``, and the number of images under ``train``, ``query`` and ``gallery``.

    Raises:
        UserError: An image has gone.
    """
    digest = hashlib.sha256()
    for name in SPLITS:
        records = getattr(splits, name)
        rows = zip(
            (Path(os.path.relpath(path, splits.root)).as_posix() for path in records.paths),
            records.identities.tolist(),
            records.cameras.tolist(),
            map(_size, records.paths),
            strict=True,
        )
        for row in sorted(rows):
            digest.update(json.dumps([name, *row]).encode() + b"\n")
    return {"sha256": digest.hexdigest(), **{name: len(getattr(splits, name)) for name in SPLITS}}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read the image {path}: {error.strerror}") from error
