"""Frames of videos and of folders, and the crops of tracks in them."""

from typing import TYPE_CHECKING

from dccc_lightning.common.public_names import imported_lazily

if TYPE_CHECKING:
    from dccc_lightning.data.video.tracklet_crops import crop_tracks as crop_tracks

__getattr__, __dir__ = imported_lazily(__name__, {"crop_tracks": "tracklet_crops"})
