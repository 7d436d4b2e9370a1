"""Rows of boxmot: 9 columns as ground truth, but a score, a class from 0 and an index."""

from dccc_lightning.data.tracks import mot17, mot_rows
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource


def fits(source: TrackSource) -> bool:
    """Return True for 9 columns that are not ground truth, without labels.txt beside them."""
    return source.width == 9 and not mot_rows.has_labels(source) and not mot17.fits(source)


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read the rows."""
    mot_rows.add_rows(source, boxes, first_pixel=0, classes=())
