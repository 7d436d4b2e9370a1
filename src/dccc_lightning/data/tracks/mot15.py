"""MOT15 and plain MOT: frame, id, left, top, width, height, score, and three of the world."""

from dccc_lightning.data.tracks import mot_rows, trackers_mot
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource

WIDTHS = (7, 10)


def fits(source: TrackSource) -> bool:
    """Return True for 7 or 10 columns, unless ``trackers`` wrote them."""
    return source.width in WIDTHS and not trackers_mot.fits(source)


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read rows of at least 6 columns; a seventh of 0 and 1 is a flag, and 0 does not count."""
    flag = source.width > mot_rows.FLAG and mot_rows.is_flag(source)
    mot_rows.add_rows(source, boxes, first_pixel=1, flag=flag)
