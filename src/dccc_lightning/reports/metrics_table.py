"""metrics.csv: one row an epoch, appended to, cut back on resume, never half-written."""

import csv
import io
from pathlib import Path

from dccc_lightning.common.files import write_atomically

Row = dict[str, float]


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a table; empty cells are left out. Without a file there are no rows.

    Raises:
        ValueError: A row has more cells than the head, or no epoch.
    """
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if any(None in row or not row.get("epoch") for row in rows):
        raise ValueError(f"{path.name}: a row does not fit its head")
    return [
        {name: _number(cell) for name, cell in row.items() if cell not in ("", None)}
        for row in rows
    ]


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write ``rows``: ``epoch`` and ``step`` first, then the other columns by name."""
    names = {name for row in rows for name in row}
    columns = ["epoch", "step", *sorted(names - {"epoch", "step"})]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue().encode())


def add_row(path: Path, row: Row) -> None:
    """Append ``row`` and remove rows of the same or later epochs, as after a resume."""
    kept = [old for old in read_rows(path) if old["epoch"] < row["epoch"]]
    write_rows(path, [*kept, row])


def _number(cell: str) -> float:
    return int(cell) if cell.lstrip("-").isdigit() else float(cell)
