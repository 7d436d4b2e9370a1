"""Records: labels of images beside identity and camera."""

from pathlib import Path

import numpy as np
import pytest

from dccc_lightning.data.records import UNKNOWN, Records

PATHS = tuple(Path(f"{name}.jpg") for name in "abc")
LABELS = np.arange(3)


def test_a_selection_keeps_every_column() -> None:
    records = Records(PATHS, LABELS, LABELS, {"session": np.array([5, 6, 7])})
    chosen = records.select([2, 0])
    assert chosen.column("session").tolist() == [7, 5]
    assert chosen.column("clothes").tolist() == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("columns", [{"sesion": LABELS}, {"session": LABELS[:2]}])
def test_a_column_of_another_name_or_length_is_refused(columns: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=next(iter(columns))):
        Records(PATHS, LABELS, LABELS, columns)
