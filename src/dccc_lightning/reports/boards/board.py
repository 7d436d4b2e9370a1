"""Boards: rows of thumbnails with frames and captions."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

from PIL import Image, ImageDraw

from dccc_lightning.data.records import UNKNOWN, Records
from dccc_lightning.reports.boards.fonts import font, shortened
from dccc_lightning.reports.boards.thumbnails import Thumbnails
from dccc_lightning.reports.panels import Panel

Frame = Literal["", "query", "right", "wrong"]

THUMBNAIL_HEIGHT = 128

FRAME_COLORS: dict[Frame, str] = {
    "": "#d5d9df", "query": "#2f6db3", "right": "#2e9e5b", "wrong": "#d0433b",
}  # fmt: skip
_BLACK, _GREY, _WHITE = "#1d2127", "#68707c", "#ffffff"
_FRAME, _GAP, _MARGIN, _CAPTION, _HEADING, _TITLE = 3, 8, 16, 52, 24, 62


@dataclass(frozen=True)
class Tile:
    """Image on a board: key, caption and frame."""

    key: str
    caption: str
    frame: Frame = ""


@dataclass(frozen=True)
class BoardRow:
    """Row of a board."""

    title: str
    tiles: tuple[Tile, ...]


class LabelNames(NamedTuple):
    """Names of cameras and identities by number; empty where they have none."""

    cameras: Sequence[str] = ()
    identities: Sequence[str] = ()


NO_NAMES = LabelNames()


def facts(records: Records, index: int, names: LabelNames = NO_NAMES) -> str:
    """Return the known identity and camera of an image as lines of a caption.

    >>> from pathlib import Path
    >>> records = Records.from_rows([(Path("a.jpg"), 1, -1)])
    >>> facts(records, 0), facts(records, 0, LabelNames(identities=["NA", "0007"]))
    ('id 1', 'id 0007')
    """
    identity, camera = int(records.identities[index]), int(records.cameras[index])
    known = [f"id {named(identity, names.identities)}"] if identity != UNKNOWN else []
    if camera != UNKNOWN:
        known.append(f"cam {named(camera, names.cameras)}")
    return "\n".join(known)


def named(number: int, names: Sequence[str]) -> str:
    """Return the name of a number, or the number where there are no names."""
    return names[number] if names else str(number)


def keys(rows: Sequence[BoardRow]) -> list[str]:
    """Return the keys of all images on a board."""
    return [tile.key for row in rows for tile in row.tiles]


def board(
    name: str, title: str, note: str, rows: Sequence[BoardRow], thumbnails: Thumbnails
) -> Panel:
    """Make a panel of rows of thumbnails.

    Args:
        name: Of the panel.
        title: Of the panel.
        note: Meaning of the order and the frames.
        rows: From top to bottom.
        thumbnails: Hold all images of the rows.
    """
    data = {"note": note, "rows": [asdict(row) for row in rows]}
    picture = draw_board(title, note, rows, thumbnails.__getitem__, thumbnails.size)
    return Panel(name, title, picture, data)


def draw_board(
    title: str,
    note: str,
    rows: Sequence[BoardRow],
    picture: Callable[[str], Image.Image],
    size: tuple[int, int],
) -> Image.Image:
    """Draw rows of pictures with frames and captions.

    Args:
        title: Above the rows.
        note: Below the title.
        rows: From top to bottom.
        picture: Returns the picture of a key.
        size: Width and height of all pictures.
    """
    step, frame_height = size[0] + 2 * _FRAME + _GAP, size[1] + 2 * _FRAME
    row_height = _HEADING + frame_height + _CAPTION + _GAP
    texts = [font(14).getlength(title), font(11).getlength(note)]
    texts += [font(12).getlength(row.title) for row in rows]
    columns = max((len(row.tiles) for row in rows), default=0)
    width = 2 * _MARGIN + max(2 * _GAP + columns * step, *(int(length) for length in texts))
    board = Image.new("RGB", (width, _TITLE + row_height * len(rows) + _MARGIN), _WHITE)
    pen = ImageDraw.Draw(board)
    pen.text((_MARGIN, 12), title, fill=_BLACK, font=font(14))
    pen.text((_MARGIN, 34), note, fill=_GREY, font=font(11))
    for number, row in enumerate(rows):
        x, y = _MARGIN, _TITLE + number * row_height + _HEADING
        pen.text((x, y - _HEADING), row.title, fill=_BLACK, font=font(12))
        for tile in row.tiles:
            end = x + size[0] + 2 * _FRAME - 1, y + frame_height - 1
            pen.rectangle((x, y, *end), fill=FRAME_COLORS[tile.frame])
            board.paste(picture(tile.key), (x + _FRAME, y + _FRAME))
            lines = [shortened(line, font(10), step - 2) for line in tile.caption.split("\n")]
            pen.multiline_text((x, end[1] + 4), "\n".join(lines), fill=_GREY, font=font(10))
            x += step + (2 * _GAP if tile.frame == "query" else 0)
    return board
