"""Panels as W&B media: pictures, and tables that can be sorted, filtered and plotted."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from dccc_lightning.reports.boards.thumbnails import Thumbnails
from dccc_lightning.reports.panels import Panel
from dccc_lightning.reports.picture_failures import warn_on_failure

Columns = dict[str, list[Any]]

CLUSTERS = "clusters/"
"""Beginning of the names of the boards of clusters."""


def image_key(name: str) -> str:
    """Return the key of a panel's picture."""
    return f"panels/{name}"


def table_key(name: str) -> str:
    """Return the key of a panel's table."""
    return f"tables/{name}"


def to_media(panels: Iterable[Panel]) -> dict[str, Any]:
    """Return a picture and a table of each panel; thumbnails go into the tables.

    All boards of clusters have one table, ``tables/clusters``, with a row for each cluster.

    Args:
        panels: Of one epoch, with their thumbnails.

    Returns:
        ``wandb.Image`` and ``wandb.Table`` by key.
    """
    import wandb  # noqa: PLC0415  no run without W&B imports it

    shown, thumbnails = [], {}
    for panel in panels:
        kind, _, name = panel.name.rpartition("/")
        if kind == "thumbnails":
            thumbnails[name] = Thumbnails.cut(panel)
        else:
            shown.append(panel)
    media: dict[str, Any] = {}
    for panel in shown:
        name = panel.name
        with warn_on_failure(f"panel {name} in W&B"):
            if panel.image is not None:
                media[image_key(name)] = wandb.Image(panel.image, caption=panel.title)
            if not name.startswith(CLUSTERS):
                _add_table(media, name, _columns(name, panel.data or {}, thumbnails))
    with warn_on_failure("the table of clusters in W&B"):
        boards = {panel.name: panel.data for panel in shown if panel.name.startswith(CLUSTERS)}
        if boards and "boards" in thumbnails:
            _add_table(media, "clusters", _clusters(boards, thumbnails["boards"]))
    return media


def _add_table(media: dict[str, Any], name: str, columns: Columns) -> None:
    import wandb  # noqa: PLC0415

    if columns:
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        media[table_key(name)] = wandb.Table(columns=list(columns), data=rows)


def _columns(name: str, data: Mapping[str, Any], thumbnails: Mapping[str, Thumbnails]) -> Columns:
    """Return the columns of a panel's table by title; empty if it has no table."""
    if "rows" in data:
        return _board(data, thumbnails["boards"])
    if name == "map":
        return _map(data, thumbnails["map"])
    if name == "distances":
        return _distances(data)
    if name == "sizes":
        sizes = data["sizes"]
        kinds = ["cluster"] * len(sizes) + ["outliers"]
        return {
            "kind": kinds,
            "rank": [*range(1, len(sizes) + 1), 0],
            "images": [*sizes, data["outliers"]],
        }
    if name == "flow":
        return {"what": list(data), "count": list(data.values())}
    return {}


def _board(data: Mapping[str, Any], thumbnails: Thumbnails) -> Columns:
    tiles = [
        (number, row["title"], place, tile)
        for number, row in enumerate(data["rows"])
        for place, tile in enumerate(row["tiles"])
    ]
    return {
        "number": [number for number, _, _, _ in tiles],
        "row": [title for _, title, _, _ in tiles],
        "place": [place for _, _, place, _ in tiles],
        "image": [_picture(thumbnails, tile["key"]) for *_, tile in tiles],
        "caption": [tile["caption"] for *_, tile in tiles],
        "frame": [tile["frame"] for *_, tile in tiles],
        "key": [tile["key"] for *_, tile in tiles],
    }


def _clusters(boards: Mapping[str, Mapping[str, Any] | None], thumbnails: Thumbnails) -> Columns:
    """Return a row for each cluster on a board: boards, title, images side by side, captions."""
    rows: dict[str, Mapping[str, Any]] = {}
    places: dict[str, list[str]] = {}
    for name, data in boards.items():
        for row in (data or {}).get("rows", ()):
            title = row["title"]
            rows[title] = row
            places.setdefault(title, []).append(name.removeprefix(CLUSTERS))
    tiles = [row["tiles"] for row in rows.values()]
    return {
        "cluster": list(rows),
        "boards": [", ".join(places[title]) for title in rows],
        "images": [_strip(thumbnails, [tile["key"] for tile in row]) for row in tiles],
        "captions": [
            " | ".join(" ".join(tile["caption"].split()) for tile in row) for row in tiles
        ],
    }


def _strip(thumbnails: Thumbnails, keys: list[str]) -> Any:
    import wandb  # noqa: PLC0415

    pixels = np.concatenate([thumbnails.pixels[thumbnails.places[key]] for key in keys], axis=1)
    return wandb.Image(Image.fromarray(pixels), file_type="jpg")


def _map(data: Mapping[str, Any], thumbnails: Thumbnails) -> Columns:
    """Return a row for each image; groups are text, so that plots colour them as categories."""
    columns: Columns = {
        "image": [_picture(thumbnails, key) for key in data["keys"]],
        "x": [x for x, _ in data["points"]],
        "y": [y for _, y in data["points"]],
    }
    columns["cluster"] = [str(value) if value >= 0 else "outlier" for value in data["cluster"]]
    for name in ("identity", "camera"):
        if name in data:
            columns[name] = list(data[f"{name}_names"])
    return columns | {"key": list(data["keys"])}


def _distances(data: Mapping[str, Any]) -> Columns:
    """Return a row for each bin of the histograms, and one for the pairs beyond, up to 1."""
    edges = [*data["edges"], 1.0]
    columns: Columns = {"from": edges[:-1], "to": edges[1:]}
    for group in ("clusters", "identities"):
        for kind in ("within", "between"):
            if group in data:
                counts = data[group]
                columns[f"{group}: {kind}"] = [*counts[kind], counts[f"{kind}_beyond"]]
    return columns | {"eps": [data["eps"]] * len(columns["from"])}


def _picture(thumbnails: Thumbnails, key: str) -> Any:
    import wandb  # noqa: PLC0415

    return wandb.Image(thumbnails[key], file_type="jpg")
