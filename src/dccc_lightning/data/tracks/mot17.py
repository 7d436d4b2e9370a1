"""Ground truth of MOT16, MOT17 and MOT20: 9 columns, the seventh a flag, then class, visibility."""

from dccc_lightning.data.tracks import mot_rows
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource

CLASSES = (
    "pedestrian", "person on vehicle", "car", "bicycle", "motorbike", "non motorized vehicle",
    "static person", "distractor", "occluder", "occluder on the ground", "occluder full",
    "reflection", "crowd",
)  # fmt: skip


def fits(source: TrackSource) -> bool:
    """Return True for 9 columns of ground truth: flags, classes and ids from 1, visibility <= 1."""
    return (
        source.width == 9
        and not mot_rows.has_labels(source)
        and mot_rows.is_flag(source)
        and not mot_rows.has_zero_id(source)
        and all(kind is not None and kind >= 1 for kind in mot_rows.numbers_of(source, 7))
        and all(seen is not None and -1 <= seen <= 1 for seen in mot_rows.numbers_of(source, 8))
    )


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read the rows that count."""
    mot_rows.add_rows(source, boxes, first_pixel=1, flag=True, score=False, classes=CLASSES)
