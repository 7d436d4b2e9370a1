"""Fingerprint of a dataset, equal for runs on the same images."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from dccc_lightning.data.records import Splits
from dccc_lightning.errors import UserError

SPLITS = ("train", "query", "gallery")


def fingerprint(splits: Splits) -> dict[str, Any]:
    """Hash the relative path, identity, camera and file size of all images of a dataset.

    The content of images is not read, so a replacement of the same size is not detected;
    ``task=verify`` reads the content.

    Args:
        splits: Splits of the dataset.

    Returns:
        ``sha256``, and the numbers of images as ``train``, ``query`` and ``gallery``.

    Raises:
        UserError: An image file does not exist.
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
