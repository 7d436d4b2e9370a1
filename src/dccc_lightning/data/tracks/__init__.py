"""Boxes that detectors, trackers and annotation tools wrote: one file and one row per format."""

from typing import TYPE_CHECKING

from dccc_lightning.common.public_names import imported_lazily

if TYPE_CHECKING:
    from dccc_lightning.data.tracks.detections import tracks_of_detections as tracks_of_detections
    from dccc_lightning.data.tracks.gaps import fill_gaps as fill_gaps
    from dccc_lightning.data.tracks.global_identities import with_identities as with_identities
    from dccc_lightning.data.tracks.global_identities import write_cocovid as write_cocovid
    from dccc_lightning.data.tracks.global_identities import write_mot as write_mot
    from dccc_lightning.data.tracks.track_reader import read_tracks as read_tracks

_PUBLIC = {
    "fill_gaps": "gaps",
    "read_tracks": "track_reader",
    "tracks_of_detections": "detections",
    "with_identities": "global_identities",
    "write_cocovid": "global_identities",
    "write_mot": "global_identities",
}

__getattr__, __dir__ = imported_lazily(__name__, _PUBLIC)
