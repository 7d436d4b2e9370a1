"""Appendable files of embeddings, in NumPy's ``.npy`` or safetensors format."""

import fcntl
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common import checks
from dccc_lightning.errors import UserError

FileFormat = Literal["npy", "safetensors"]

FORMATS = ("npy", "safetensors")

HEADER_BYTES = 1024
"""Space reserved for the header, which is written last with the number of rows."""

_BLOCK = 1 << 20
"""Bytes that are copied at a time."""

TENSOR_NAME = "embeddings"
"""Name of the tensor in a safetensors file."""


class EmbeddingFile:
    """Appendable file of (N, D) float32 rows; readable by NumPy or safetensors after ``finish``.

    Args:
        path: File to create, or to truncate after ``rows`` rows: rows after the last commit of a
            killed process may be incomplete.
        feature_dim: D.
        file_format: ``npy`` or ``safetensors``.
        rows: Number of existing rows to keep.

    Raises:
        UserError: Another process writes the file, or it has fewer rows than ``rows``.
    """

    def __init__(
        self, path: Path, feature_dim: int, file_format: FileFormat, rows: int = 0
    ) -> None:
        checks.choice("format", file_format, FORMATS)
        self.feature_dim = checks.integer("feature_dim", feature_dim, 1)
        self.file_format = file_format
        self.rows = rows
        self._file = open_at(path, HEADER_BYTES + rows * feature_dim * 4 if rows else 0)
        if not rows:
            self._file.write(bytes(HEADER_BYTES))

    def append(self, features: NDArray[np.float32]) -> None:
        """Append (b, D) rows."""
        self._file.write(np.ascontiguousarray(features, dtype="<f4").tobytes())
        self.rows += len(features)

    def append_file(self, path: Path, rows: int) -> None:
        """Append the rows of another file of this class, block by block."""
        left = rows * self.feature_dim * 4
        with path.open("rb") as other:
            other.seek(HEADER_BYTES)
            while left and (block := other.read(min(left, _BLOCK))):
                self._file.write(block)
                left -= len(block)
        if left:
            raise UserError(f"{path}: shorter than its {rows:,} rows")
        self.rows += rows

    def commit(self) -> None:
        """Flush all rows to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the header.

        Args:
            metadata: Metadata of a safetensors file; ignored for ``npy``.
        """
        header = (
            _npy_header(self.rows, self.feature_dim)
            if self.file_format == "npy"
            else _safetensors_header(self.rows, self.feature_dim, metadata)
        )
        self._file.seek(0)
        self._file.write(header)
        self.commit()

    def close(self) -> None:
        """Close the file and release its lock."""
        self._file.close()


def open_at(path: Path, size: int) -> BinaryIO:
    """Open and lock a file, creating it if needed, and truncate it to ``size`` bytes.

    Raises:
        UserError: Another process has locked the file, or it is shorter.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_size < size:
            raise UserError(f"{path}: shorter than at the last commit; start in another folder")
        file.truncate(size)
        file.seek(size)
    except BlockingIOError as error:
        file.close()
        raise UserError(f"{path}: another process is writing it; wait until it ends") from error
    except BaseException:
        file.close()
        raise
    return file


def _npy_header(rows: int, columns: int) -> bytes:
    """Return a header of NumPy's format 1.0, padded with spaces."""
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER_BYTES - 10)
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    return start + text.encode().ljust(HEADER_BYTES - 11) + b"\n"


def _safetensors_header(rows: int, columns: int, metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors header: the length of a JSON text, the text and padding."""
    content = {
        "__metadata__": dict(metadata),
        TENSOR_NAME: {
            "dtype": "F32",
            "shape": [rows, columns],
            "data_offsets": [0, rows * columns * 4],
        },
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    if len(text) > HEADER_BYTES - 8:
        raise ValueError(f"metadata must be shorter, got {len(text)} bytes")
    return struct.pack("<Q", HEADER_BYTES - 8) + text.ljust(HEADER_BYTES - 8)
