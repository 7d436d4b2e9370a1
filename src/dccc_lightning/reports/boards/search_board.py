"""Board of a search: a row for each query, with its best hits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from dccc_lightning.common.files import write_atomically
from dccc_lightning.data.decoding import DECODING_ERRORS, FORMATS, check_size, to_rgb
from dccc_lightning.data.image_list import ListedImage
from dccc_lightning.gallery.gallery_table import Hit
from dccc_lightning.reports.boards.board import BoardRow, Frame, Tile, draw_board
from dccc_lightning.reports.boards.fonts import font
from dccc_lightning.reports.panels import encoded

_SIZE = 96, 192
_BLACK, _PALE = "#1d2127", "#eceef1"


@dataclass(frozen=True)
class SearchRow:
    """A query and its hits, the best first."""

    query: ListedImage
    hits: Sequence[Hit]


def write_board(path: Path, rows: Sequence[SearchRow], columns: int, title: str) -> None:
    """Draw searches into a PNG: the query on the left, its hits on the right.

    A hit is framed green if it shows the query's identity, red if it shows another, grey if one of
    the two is unknown; the caption says the same in words. An image that cannot be read leaves its
    place empty.

    Args:
        path: Of the PNG.
        rows: From top to bottom.
        columns: Hits of a row that are drawn, at most.
        title: Above the picture.
    """
    board = draw_board(title, "", [_row(row, columns) for row in rows], _fitted, _SIZE)
    write_atomically(path, encoded(board, ".png"))


def _row(row: SearchRow, columns: int) -> BoardRow:
    tiles = [_tile(row.query, "query", "query")]
    for hit in row.hits[:columns]:
        frame: Frame = ""
        verdict = ""
        if row.query.identity and hit.identity:
            is_right = row.query.identity == hit.identity
            frame, verdict = ("right", "same") if is_right else ("wrong", "other")
        tiles.append(_tile(hit, f"{hit.score:.3f} {verdict}", frame))
    return BoardRow("" if row.hits else "nothing found", tuple(tiles))


def _tile(image: ListedImage | Hit, heading: str, frame: Frame) -> Tile:
    facts = [f"cam {image.camera}"] if image.camera else []
    facts += [f"id {image.identity}"] if image.identity else []
    lines = [heading, "  ".join(facts), Path(image.path).name]
    return Tile(image.path, "\n".join(filter(None, lines)), frame)


def _fitted(path: str) -> Image.Image:
    """Return an image within ``_SIZE``, its proportions kept, on a pale ground."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_size(image)
            rgb = to_rgb(image)
    except DECODING_ERRORS:
        empty = Image.new("RGB", _SIZE, _PALE)
        ImageDraw.Draw(empty).text((6, 6), "cannot\nbe read", fill=_BLACK, font=font(12))
        return empty
    return ImageOps.pad(rgb, _SIZE, Image.Resampling.BICUBIC, _PALE)
