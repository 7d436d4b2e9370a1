"""Font for pictures: it has letters with accents, and comes with matplotlib."""

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, ``size`` pixels high.

    >>> font(11).getlength("ñ") > 0
    True
    """
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def shortened(text: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    """Return the longest end of a text that fits; the ends of names tell them apart.

    >>> shortened("warehouse", font(11), 1000)
    'warehouse'
    >>> shortened("warehouse-17", font(11), 50).endswith("-17")
    True
    """
    kept = text if len(text) <= width else f"…{text[-width:]}"  # no letter is thinner than that
    while len(kept) > 1 and face.getlength(kept) > width:
        kept = f"…{kept[2:]}"
    return kept
