"""Tables as Parquet files: read without threads, and written whole."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from dccc_lightning.common.files import write_atomically


def open_parquet(source: Path | bytes) -> pa.Table:
    """Read a table from a file or its content.

    Raises:
        OSError: There is no such file, or it is damaged.
        ArrowException: It is damaged.
    """
    place = pa.BufferReader(source) if isinstance(source, bytes) else source
    # pyarrow.parquet.read_table sometimes aborted processes with torch, at their end
    return pyarrow.parquet.ParquetFile(place).read(use_threads=False)


def read_parquet(path: Path) -> pa.Table | None:
    """Read a table; None if there is no such file.

    Raises:
        ValueError: The file is damaged.
    """
    if not path.is_file():
        return None
    try:
        return open_parquet(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} is damaged; {str(error).splitlines()[0]}") from error


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as the content of a file."""
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table, complete or as it was.

    Raises:
        UnwritableFileError: The disk is full or the folder is read-only.
    """
    write_atomically(path, parquet_bytes(table))
