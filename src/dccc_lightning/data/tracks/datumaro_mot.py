"""MOT as CVAT and datumaro export it: labels.txt beside gt.txt, pixels from 0."""

from dccc_lightning.data.tracks import mot_rows
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource


def fits(source: TrackSource) -> bool:
    """Return True for 9 columns with labels.txt beside them."""
    return source.width == 9 and mot_rows.has_labels(source)


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read the rows that count; frames are numbered from 0 if one is 0, else from 1."""
    first = 0 if 0 in set(mot_rows.numbers_of(source, 0)) else 1
    boxes.notes.append(f"frames from {first}")
    mot_rows.add_rows(
        source,
        boxes,
        first_pixel=0,
        first_frame=first,
        flag=True,
        score=False,
        classes=mot_rows.labels_beside(source.path),
    )
