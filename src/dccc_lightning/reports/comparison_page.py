"""Page of a comparison of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from typing import Any

from PIL import Image

from dccc_lightning.data.decoding import decode_image
from dccc_lightning.errors import UserError
from dccc_lightning.reports.boards.board import BoardRow, Frame, Tile
from dccc_lightning.reports.compared_runs import Agreement, ComparedRun, changed_queries
from dccc_lightning.reports.figures.chart import Chart
from dccc_lightning.reports.figures.training_curves import line_styles
from dccc_lightning.reports.pages import render

CHANGED = 6
"""Queries that gained, and that lost most."""

_HEIGHT = 128


def comparison_page(
    title: str,
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]],
    remarks: Sequence[str],
    curves: Sequence[Chart],
    boards: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, bytes],
    links: Mapping[str, str],
) -> str:
    """Return the page as HTML.

    Args:
        title: Of the page.
        tables: Titles of the columns and rows of each table, by its heading.
        remarks: What is not compared, and why.
        curves: Of all runs.
        boards: Of ``changed_boards``.
        pictures: JPEG files of the boards' images, by path.
        links: Address of the report of each run, by its name.
    """
    width, height = _size(pictures)
    return render(
        "compare.html",
        title=title,
        tables=tables,
        remarks=remarks,
        curves=curves,
        boards=boards,
        thumbnails={"size": (width, height), "pictures": pictures},
        links=links,
        keys=line_styles(links),
    )


def _size(pictures: Mapping[str, bytes]) -> tuple[int, int]:
    if not pictures:
        return _HEIGHT // 2, _HEIGHT
    return Image.open(BytesIO(next(iter(pictures.values())))).size


def changed_boards(
    first: ComparedRun, second: ComparedRun
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return boards of the queries that gained and lost most, and the images that could be read.

    Each query has two rows, the ranking of either run.
    """
    gained, lost = changed_queries(first, second, CHANGED)
    boards, keys = [], dict[str, None]()
    for verb, pairs in (("gained", gained), ("lost", lost)):
        rows = [
            _row(run, row, f"{run.name}: ")
            for pair in pairs
            for run, row in zip((first, second), pair, strict=True)
        ]
        keys |= dict.fromkeys(tile.key for row in rows for tile in row.tiles)
        if rows:
            boards.append({
                "name": f"{verb}-{second.name}",
                "title": f"queries that {verb} most from {first.name} to {second.name}",
                "data": {
                    "note": "query (blue) and the first of the gallery, by either run; green: the "
                    "same person, red: another",
                    "rows": [asdict(row) for row in rows],
                },
            })  # fmt: skip
    image = first.settings["image"]
    return boards, _pictures(list(keys), max(1, _HEIGHT * image["width"] // image["height"]))


def _row(run: ComparedRun, row: int, start: str) -> BoardRow:
    assert run.queries is not None
    facts = {name: run.queries[name][row].as_py() for name in run.queries.column_names}
    tiles = [Tile(facts["path"], f"id {facts['identity']}", "query")]
    for path, score, right in zip(facts["hits"], facts["scores"], facts["right"], strict=True):
        frame: Frame = "right" if right else "wrong"
        tiles.append(Tile(path, f"{score:.3f}", frame))
    return BoardRow(f"{start}average precision {facts['precision']:.1%}", tuple(tiles))


def _pictures(paths: Sequence[str], width: int) -> dict[str, bytes]:
    """Return small JPEG files of the images that can still be read, by path."""
    found = {}
    for path in paths:
        try:
            pixels = decode_image(path, _HEIGHT, width)
        except (UserError, OSError):
            continue
        picture, buffer = Image.fromarray(pixels.transpose(1, 2, 0)), BytesIO()
        picture.save(buffer, format="JPEG", quality=80)
        found[path] = buffer.getvalue()
    return found


def agreement_rows(name: str, found: Agreement) -> list[list[str]]:
    """Return the rows of a table about the labels of a run beside those of the first."""
    rows = [
        [
            f"{name}: ARI of the clusters, {found.images:,} images",
            "no image is clustered by both" if found.ari is None else f"{found.ari:.3f}",
        ],
        [f"{name}: images that it alone has clustered", f"{found.only_second:.1%}"],
        [f"{name}: images that it alone has not", f"{found.only_first:.1%}"],
    ]
    for verb, groups in (("merged", found.merged), ("split", found.split)):
        shown = [
            f"{', '.join(map(str, parts))} into {one}" if verb == "merged"
            else f"{one} into {', '.join(map(str, parts))}"
            for one, parts, _ in groups[:10]
        ]  # fmt: skip
        more = f"; and {len(groups) - 10} more" if len(groups) > 10 else ""
        rows.append([f"{name}: {len(groups)} clusters {verb}", "; ".join(shown) + more])
    return rows
