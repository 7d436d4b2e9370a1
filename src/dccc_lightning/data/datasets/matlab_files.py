"""Arrays of .mat files."""

import zlib
from pathlib import Path
from typing import Any


def read_matlab(file: Path) -> dict[str, Any]:
    """Return the arrays of a .mat file by name.

    Raises:
        OSError: The file cannot be opened.
        ValueError: The file is no .mat file, is damaged, or is of MATLAB 7.3.
    """
    from scipy.io import loadmat  # noqa: PLC0415  # slow to import
    from scipy.io.matlab import MatReadError  # noqa: PLC0415

    try:
        return {name: value for name, value in loadmat(file).items() if name[:2] != "__"}
    except NotImplementedError as error:  # scipy's text advises a reader of HDF
        raise ValueError("it is of MATLAB 7.3; save it in MATLAB with '-v7'") from error
    except (MatReadError, TypeError, IndexError, zlib.error) as error:
        raise ValueError(str(error)) from error
