"""Panels: named pictures with the data behind them, and their files."""

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dccc_lightning.common.files import write_atomically
from dccc_lightning.reports.picture_failures import warn_on_failure

PICTURES = {".png": "PNG", ".jpg": "JPEG"}


@dataclass(frozen=True, eq=False)
class Panel:
    """Picture, the data it shows, or both.

    Attributes:
        name: Stable, with slashes, such as ``clusters/largest``.
        title: Caption of the picture.
        image: RGB; photographs, which compress badly otherwise, are named ``thumbnails/...``.
        data: Of the picture, ready for JSON.
    """

    name: str
    title: str
    image: Image.Image | None
    data: dict[str, Any] | None


def write_panels(folder: Path, panels: Iterable[Panel], epoch: int) -> None:
    """Write ``NAME.json`` and ``NAME.png`` (thumbnails: ``.jpg``), slashes as hyphens.

    Args:
        folder: Made if need be; panels of other names that are in it stay.
        panels: To write.
        epoch: After which they were made, from 0.
    """
    for panel in panels:
        with warn_on_failure(f"panel {panel.name}"):
            stem = panel.name.replace("/", "-")
            if panel.image is not None:
                suffix = ".jpg" if panel.name.startswith("thumbnails/") else ".png"
                write_atomically(folder / f"{stem}{suffix}", encoded(panel.image, suffix))
            content = {"name": panel.name, "title": panel.title, "epoch": epoch, "data": panel.data}
            write_atomically(folder / f"{stem}.json", json.dumps(content, allow_nan=False).encode())


def read_panels(folder: Path) -> dict[str, tuple[Panel, int]]:
    """Return the panels in a folder by name, each with its epoch; none without a folder."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        pictures = [path.with_suffix(s) for s in PICTURES if path.with_suffix(s).exists()]
        image = Image.open(pictures[0]).convert("RGB") if pictures else None
        panel = Panel(content["name"], content["title"], image, content["data"])
        found[panel.name] = panel, content["epoch"]
    return found


def encoded(image: Image.Image, suffix: str) -> bytes:
    """Return the bytes of a picture file, ``.png`` or ``.jpg``."""
    buffer = io.BytesIO()
    image.save(buffer, format=PICTURES[suffix], quality=80, optimize=suffix == ".jpg")
    return buffer.getvalue()
