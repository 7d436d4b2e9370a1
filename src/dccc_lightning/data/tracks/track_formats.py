"""Formats of tracks: one row each."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from dccc_lightning.data.tracks import (
    boxmot_mot,
    coco,
    cocovid,
    cvat_video,
    datumaro_mot,
    label_studio,
    megadetector,
    mot15,
    mot17,
    speciesnet,
    supervision_sinks,
    tao,
    trackers_mot,
    ultralytics_labels,
)
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource


class Format(NamedTuple):
    """Format of tracks.

    Attributes:
        title: Reading of a file in this format, for the line that reports it.
        fits: Function that is True for files that may be in this format.
        read: Function that reads a file.
        is_json: True if all its files are JSON.
    """

    title: str
    fits: Callable[[TrackSource], bool]
    read: Callable[[TrackSource, Boxes, Request], None]
    is_json: bool = False


FORMATS: Mapping[str, Format] = {
    "mot15": Format("MOT rows, pixels and frames from 1", mot15.fits, mot15.read),
    "mot17": Format("MOT16/17/20 ground truth, pixels and frames from 1, column 7 a flag",
                    mot17.fits, mot17.read),
    "boxmot": Format("boxmot rows, pixels from 0, frames from 1, column 7 a score",
                     boxmot_mot.fits, boxmot_mot.read),
    "trackers": Format("rows of the package trackers, pixels from 0, frames from 1",
                       trackers_mot.fits, trackers_mot.read),
    "datumaro": Format("MOT export of CVAT or datumaro, pixels from 0, column 7 a flag",
                       datumaro_mot.fits, datumaro_mot.read),
    "ultralytics": Format("ultralytics labels, relative to the picture, frames from 1",
                          ultralytics_labels.fits, ultralytics_labels.read),
    "ultralytics_id": Format("ultralytics labels, the sixth column is the id",
                             ultralytics_labels.fits_sixth, ultralytics_labels.read_id),
    "ultralytics_conf": Format("ultralytics labels, the sixth column is the score",
                               ultralytics_labels.fits_sixth, ultralytics_labels.read_conf),
    "supervision": Format("supervision's sink, pixels from 0",
                          supervision_sinks.fits, supervision_sinks.read),
    "megadetector": Format("MegaDetector results, relative to the picture, frames from 0",
                           megadetector.fits, megadetector.read, is_json=True),
    "speciesnet": Format("SpeciesNet predictions, relative to the picture",
                         speciesnet.fits, speciesnet.read, is_json=True),
    "coco": Format("COCO annotations, pixels from 0", coco.fits, coco.read, is_json=True),
    "coco_results": Format("COCO results, pixels from 0, frames from 0",
                           coco.fits_results, coco.read_results, is_json=True),
    "coco_results_from_1": Format("COCO results, pixels from 0, frames from 1",
                                  coco.fits_results_from_1, coco.read_results_from_1, is_json=True),
    "cocovid": Format("CocoVID annotations, pixels from 0",
                      cocovid.fits, cocovid.read, is_json=True),
    "cocovid_from_0": Format("CocoVID annotations, pixels from 0, frames from 0",
                             cocovid.fits_unclear, cocovid.read_from_0, is_json=True),
    "cocovid_from_1": Format("CocoVID annotations, pixels from 0, frames from 1",
                             cocovid.fits_unclear, cocovid.read_from_1, is_json=True),
    "tao": Format("TAO annotations, pixels from 0, frames from 0",
                  tao.fits, tao.read, is_json=True),
    "cvat": Format("CVAT for video, pixels from 0, frames from 0",
                   cvat_video.fits, cvat_video.read),
    "label_studio": Format("Label Studio regions, per cent of the picture, frames from 1",
                           label_studio.fits, label_studio.read, is_json=True),
}  # fmt: skip
"""Formats by the value of ``format=``."""
