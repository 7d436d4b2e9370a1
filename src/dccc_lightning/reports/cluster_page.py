"""Page of all clusters of a run: clusters.html, the files of each, nearest to its centre first."""

import os
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from dccc_lightning.reports.pages import render


def cluster_page(table: pa.Table, title: str) -> str:
    """Return the page as HTML, the largest cluster first and the outliers last.

    Names of files are relative to the folder that all of them are in; links are absolute.

    Args:
        table: Made by ``cluster_table``.
        title: Of the page.
    """
    rows = sorted(table.to_pylist(), key=lambda row: (row["cluster"], row["distance"] or 0.0))
    root = Path(os.path.commonpath([Path(row["path"]).absolute().parent for row in rows]))
    groups = [
        _group(number, list(members), root)
        for number, members in groupby(rows, key=lambda row: row["cluster"])
    ]
    groups.sort(key=lambda group: (group["number"] < 0, -len(group["files"])))
    return render("clusters.html", title=title, images=f"{len(rows):,}", groups=groups)


def _group(number: int, rows: list[dict[str, Any]], root: Path) -> dict[str, Any]:
    cameras = {row["camera"] for row in rows} - {None}
    return {
        "number": number,
        "cameras": len(cameras),
        "files": [_file(row, root) for row in rows],
    }


def _file(row: dict[str, Any], root: Path) -> dict[str, str]:
    path = Path(row["path"]).absolute()
    note = "" if row["distance"] is None else f"{row['distance']:.3f}"
    if row["margin"] is not None and row["margin"] < 0:
        note += f", nearer to cluster {row['second']}"
    return {"name": str(path.relative_to(root)), "link": path.as_uri(), "note": note}
