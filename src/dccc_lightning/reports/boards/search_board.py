"""A picture of what searches have found: a row a query, the best hit first."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from dccc_lightning.common.files import write_atomically
from dccc_lightning.data.decoding import DECODING_ERRORS, FORMATS, check_size, to_rgb
from dccc_lightning.data.image_list import ListedImage
from dccc_lightning.gallery.gallery_table import Hit
from dccc_lightning.reports.boards.board import FRAME_COLORS
from dccc_lightning.reports.boards.fonts import font, shortened

_WIDTH, _HEIGHT = 96, 192  # of the place for a crop
_FRAME = 4
_GAP = 10
_LINE = 15
_CAPTION = 3 * _LINE + 4
_MARGIN = 18
_TITLE = 34
_BLACK, _WHITE, _PALE, _GREY = "#1d2127", "#ffffff", "#eceef1", "#b4bac3"


@dataclass(frozen=True)
class SearchRow:
    """A query and what it has found, the best first."""

    query: ListedImage
    hits: Sequence[Hit]


def write_board(path: Path, rows: Sequence[SearchRow], columns: int, title: str) -> None:
    """Draw searches into a PNG: the query on the left, what it has found on the right.

    A hit is framed green where it shows the query's identity, red where it shows another, grey
    where one of the two is unknown; the caption says the same in words. An image that cannot be
    read leaves its place empty.

    Args:
        path: Of the PNG.
        rows: From top to bottom.
        columns: Hits of a row that are drawn, at most.
        title: Above the picture.
    """
    step = _WIDTH + 2 * _FRAME + _GAP
    row_height = _HEIGHT + 2 * _FRAME + _CAPTION + _GAP
    shown = max((len(row.hits[:columns]) for row in rows), default=0)
    width = 2 * _MARGIN + step * (shown + 1) + 2 * _GAP
    board = Image.new("RGB", (max(width, 420), _TITLE + row_height * len(rows) + _MARGIN), _WHITE)
    pen = ImageDraw.Draw(board)
    pen.text((_MARGIN, 11), title, fill=_BLACK, font=font(14))
    for number, row in enumerate(rows):
        top = _TITLE + number * row_height
        query = row.query
        facts = ("query", _facts(query.camera, query.identity), Path(query.path).name)
        _draw(board, pen, (_MARGIN, top), query.path, FRAME_COLORS["query"], facts)
        for column, hit in enumerate(row.hits[:columns]):
            left = _MARGIN + step * (column + 1) + 2 * _GAP
            color, verdict = _verdict(query.identity, hit.identity)
            score = f"{hit.score:.3f} {verdict}"
            facts = (score, _facts(hit.camera, hit.identity), Path(hit.path).name)
            _draw(board, pen, (left, top), hit.path, color, facts)
        if not row.hits:
            place = (_MARGIN + step + 2 * _GAP, top + _HEIGHT // 2)
            pen.text(place, "nothing found", fill=_BLACK, font=font(13))
    buffer = io.BytesIO()
    board.save(buffer, format="PNG", optimize=True)
    write_atomically(path, buffer.getvalue())


def _draw(
    board: Image.Image,
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    path: str,
    color: str,
    lines: Sequence[str],
) -> None:
    """Draw an image with its frame and caption."""
    left, top = place
    right, bottom = left + _WIDTH + 2 * _FRAME, top + _HEIGHT + 2 * _FRAME
    pen.rectangle((left, top, right - 1, bottom - 1), fill=color)
    inside = (left + _FRAME, top + _FRAME)
    pen.rectangle((*inside, inside[0] + _WIDTH - 1, inside[1] + _HEIGHT - 1), fill=_PALE)
    try:
        crop = _thumbnail(path)
        x, y = (_WIDTH - crop.width) // 2, (_HEIGHT - crop.height) // 2
        board.paste(crop, (inside[0] + x, inside[1] + y))
    except DECODING_ERRORS:
        pen.text((inside[0] + 6, inside[1] + 6), "cannot\nbe read", fill=_BLACK, font=font(12))
    for number, line in enumerate(lines):
        face = font(12 if number == 0 else 10)
        text = shortened(line, face, _WIDTH + 2 * _FRAME)
        pen.text((left, bottom + 3 + number * _LINE), text, fill=_BLACK, font=face)


def _thumbnail(path: str) -> Image.Image:
    """Return an image as large as its place allows, its proportions kept."""
    with Image.open(path, formats=FORMATS) as image:
        check_size(image)
        rgb = to_rgb(image)
    scale = min(_WIDTH / rgb.width, _HEIGHT / rgb.height)
    size = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
    return rgb.resize(size, Image.Resampling.BICUBIC)


def _verdict(query: str, hit: str) -> tuple[str, str]:
    """Return the colour of a hit's frame, and what it says in words."""
    if not query or not hit:
        return _GREY, ""
    is_right = query == hit
    return FRAME_COLORS["right" if is_right else "wrong"], "same" if is_right else "other"


def _facts(camera: str, identity: str) -> str:
    return "  ".join(
        text for text in (camera and f"cam {camera}", identity and f"id {identity}") if text
    )
