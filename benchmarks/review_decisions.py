"""Gain of the answers to the questions of review.html, given by the truth.

    python benchmarks/review_decisions.py bundled:11 bundled:12 bundled:13 --shift 1.3

Each argument is a checkpoint and the seed of a synthetic world, whose training images are
identified. A round answers the first questions of the page, as a person who marks the images of
others would, and identifies again; the next round asks the questions of the result.

With ``--video`` the worlds are videos, and the images are the crops of a detector in every tenth
frame, without tracklets. Splits are asked with frames (two images of an identity in one frame come
first) and without.
"""

import argparse
import tempfile

import numpy as np

from dccc_lightning import load_embedder
from dccc_lightning.clustering.constraints import Constraints, Links
from dccc_lightning.data.synthetic.dataset import SyntheticPedestrians
from dccc_lightning.data.synthetic.video import TRACKERS, TRUTH, SyntheticVideo, camera_names
from dccc_lightning.data.synthetic.video_crops import identities_of
from dccc_lightning.data.tracks import read_tracks
from dccc_lightning.data.video.tracklet_crops import crop_tracks
from dccc_lightning.identities.identification import Identifier
from dccc_lightning.identities.suggestions import MERGE, SPLIT, suggestions
from dccc_lightning.metrics.identified_images import identification_scores
from dccc_lightning.neighbors.embeddings import UnitEmbeddings


def answered(question, true):
    """Return the rows (image, same, image) that the page saves."""
    first, second = question.first, question.second
    same = true[first[0]] == true[second[0]]
    rows = [] if same else [(first[0], False, second[0])]
    for group in (first, second):
        lead = first[0] if same else group[0]
        rows += [(lead, true[image] == true[lead], image) for image in group if image != lead]
    return rows


EVERY = 10
"""Frames between the frames of a detector, with ``--video``."""


def filmed(seed, shift, embedder):
    """Return embeddings, identities, cameras and moments of the people in a video."""
    video = SyntheticVideo(seed=seed, camera_shift=shift)
    place = video.drawn()
    rows, true, cameras, frames = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, camera in enumerate(camera_names(video.world)):
            tracks = read_tracks(place / camera / TRACKERS["erring"], "mot15")
            tracks = tracks.filter(tracks["frame"].to_numpy() % EVERY == 0)
            images = place / camera / "img1"
            report = crop_tracks(tracks, images, folder, camera, per_tracklet=10_000)
            table = report.table
            rows.append(embedder.embed([f"{folder}/{path}" for path in table["path"].to_pylist()]))
            true += identities_of(table, read_tracks(place / camera / TRUTH, "mot17"))
            cameras += [number] * len(table)
            frames += table["frame"].to_pylist()
    known = np.flatnonzero(np.array(true) >= 0)
    moments = [frames[n] for n in known]
    return np.concatenate(rows)[known], np.array(true)[known], np.array(cameras)[known], moments


def main():
    """Print a line per checkpoint, treatment of cameras and kind of questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="CHECKPOINT:WORLD")
    parser.add_argument("--shift", type=float, default=1.0, help="camera_shift of the worlds")
    parser.add_argument("--decisions", type=int, default=30, help="answers a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--video", action="store_true", help="worlds are videos")
    given = parser.parse_args()
    for run in given.runs:
        checkpoint, _, seed = run.rpartition(":")
        embedder = load_embedder(checkpoint)
        if given.video:
            rows, true, cameras, frames = filmed(int(seed), given.shift, embedder)
        else:
            images = SyntheticPedestrians(seed=int(seed), camera_shift=given.shift).splits().train
            true, cameras, frames = images.identities, images.cameras, None
            rows = embedder.embed([str(path) for path in images.paths])
        unit, n = UnitEmbeddings.of(rows), len(true)
        kinds = [(MERGE, None), (SPLIT, None), *([(SPLIT, frames)] if frames else [])]
        for camera in ("none", "center"):
            for kind, moments in kinds:
                identifier = Identifier(camera=camera)
                links = {True: [], False: []}
                scores = []
                for _ in range(given.rounds + 1):
                    known = Constraints.of(range(n), *(Links.of(links[k]) for k in (True, False)))
                    labels = identifier(unit, cameras, known.groups, known.apart)
                    scores.append(100 * identification_scores(labels, true)["idf1"])
                    found = suggestions(
                        unit, labels, known, cameras, moments or [None] * n, most=given.decisions
                    )
                    asked = [q for q in found.questions if q.kind == kind][: given.decisions]
                    for question in asked:
                        for one, same, other in answered(question, true):
                            links[bool(same)].append((one, other, ""))
                figures = " ".join(f"{score:.1f}" for score in scores)
                name = kind if moments is None else f"{kind}, frames known"
                print(f"{run} camera={camera:6} {name:19} {figures}", flush=True)


if __name__ == "__main__":
    main()
