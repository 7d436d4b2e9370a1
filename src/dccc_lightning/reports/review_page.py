"""Page of questions about identities: review.html, whose answers are saved as decisions."""

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image, ImageOps

from dccc_lightning.clustering.constraints import Constraints
from dccc_lightning.data.decoding import DECODING_ERRORS, FORMATS, check_size, to_rgb
from dccc_lightning.identities.suggestions import Suggestions
from dccc_lightning.reports.pages import render

MOST_IDENTITIES = 40
"""Identities that are listed, the most doubtful first."""

_TILES = 4
"""Images of an identity in the list."""

_SIZE = 120, 160
"""Largest width and height of a thumbnail."""


def review_page(
    table: pa.Table,
    title: str,
    again: str,
    found: Suggestions,
    doubtful: Sequence[int],
    constraints: Constraints,
    earlier: Sequence[tuple[int, str, int | str]] = (),
) -> str:
    """Return the page as HTML. It holds small copies of the images that it shows.

    Args:
        table: Made by ``identity_table``.
        title: Of the page.
        again: Arguments of the command that takes the decisions.
        found: Questions.
        doubtful: An image of each identity, the most doubtful identity first.
        constraints: Images known to be the same or different; answers against them are refused.
        earlier: Decisions (image, decision, image or name), which are saved with the new ones.
    """
    columns = table.to_pydict()
    identities: list[str] = columns["identity"]
    members: dict[str, list[int]] = {}
    for image, identity in enumerate(identities):
        members.setdefault(identity, []).append(image)
    listed = [_listed(image, columns, members[identities[image]]) for image in doubtful]
    shown = sorted(
        {image for question in found.questions for image in question.first + question.second}
        | {image for entry in listed for image in entry["images"]}
    )
    nodes = {int(constraints.groups[image]) for image in shown}
    apart = zip(constraints.apart.first.tolist(), constraints.apart.second.tolist(), strict=True)
    data = {
        "images": {
            image: {
                **{name: columns[name][image] for name in ("path", "identity", "camera", "frame")},
                "link": Path(columns["path"][image]).as_uri(),
                "node": int(constraints.groups[image]),
                "picture": _thumbnail(columns["path"][image]),
            }
            for image in shown
        },
        "questions": [question._asdict() for question in found.questions],
        "identities": listed,
        "names": {identities[image]: columns["name"][image] for image in shown},
        "apart": [pair for pair in apart if nodes.issuperset(pair)],
        "earlier": [
            {
                "row": [
                    columns["path"][first],
                    decision,
                    second if isinstance(second, str) else columns["path"][second],
                ],
                "identity": identities[first],
            }
            for first, decision, second in earlier
        ],
    }
    left_out = found.left_out, len(members) - len(listed)
    return render("review.html", title=title, again=again, data=data, left_out=left_out)


def _listed(image: int, columns: dict[str, list[Any]], members: list[int]) -> dict[str, Any]:
    margins = columns["margin"]
    order = sorted(members, key=lambda n: margins[n] or 0.0)
    moments = Counter(
        (columns["session"][n], columns["frame"][n], columns["camera"][n])
        for n in members
        if columns["frame"][n] is not None
    )
    at_once = Counter(moment[:2] for moment in moments)
    cameras = len({columns["camera"][n] for n in members} - {None})
    notes = [f"{len(members):,} image{'s' if len(members) > 1 else ''}"]
    if cameras:
        notes.append(f"{cameras} camera{'s' if cameras > 1 else ''}")
    if (most := max(moments.values(), default=1)) > 1:
        notes.append(f"{most} images in one frame")
    if (most := max(at_once.values(), default=1)) > 1:
        notes.append(f"{most} cameras at once")
    if (lowest := margins[order[0]]) is not None:
        notes.append(f"lowest margin {lowest:.2f}")
    return {
        "identity": columns["identity"][image],
        "image": image,
        "images": order[:_TILES],
        "note": ", ".join(notes),
    }


def _thumbnail(path: str) -> str:
    """Return a small JPEG as a data URI; "" if the image cannot be read here."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_size(image)
            small = ImageOps.contain(to_rgb(image), _SIZE)
    except DECODING_ERRORS:
        return ""
    content = BytesIO()
    small.save(content, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{b64encode(content.getvalue()).decode()}"
