"""Page of identities: identities.html, the images of each, the most doubtful last."""

import os
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from dccc_lightning.reports.pages import render


def identity_page(table: pa.Table, title: str) -> str:
    """Return the page as HTML, the largest identity first.

    Names of files are relative to the folder that all of them are in; links and images are
    absolute: the page shows images in place and holds no copy of them.

    Args:
        table: Made by ``identity_table``.
        title: Of the page.
    """
    rows = sorted(table.to_pylist(), key=lambda row: (row["identity"], -(row["margin"] or 0.0)))
    root = Path(os.path.commonpath([Path(row["path"]).parent for row in rows]))
    groups = [
        _group(identity, list(members), root)
        for identity, members in groupby(rows, key=lambda row: row["identity"])
    ]
    groups.sort(key=lambda group: (-len(group["files"]), group["identity"]))
    return render("identities.html", title=title, images=f"{len(rows):,}", groups=groups)


def _group(identity: str, rows: list[dict[str, Any]], root: Path) -> dict[str, Any]:
    return {
        "identity": identity,
        "name": next((row["name"] for row in rows if row["name"]), ""),
        "cameras": len({row["camera"] for row in rows} - {None}),
        "files": [_file(row, root) for row in rows],
    }


def _file(row: dict[str, Any], root: Path) -> dict[str, str]:
    path = Path(row["path"])
    note = "" if row["camera"] is None else f"camera {row['camera']}"
    if row["margin"] is not None and row["margin"] < 0:
        note += f"{', ' if note else ''}nearer to {row['second']}"
    return {"name": str(path.relative_to(root)), "link": path.as_uri(), "note": note}
