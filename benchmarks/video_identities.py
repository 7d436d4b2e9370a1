"""From a drawn video to identities over all cameras, beside a plain alternative; IDF1 by the truth.

    python benchmarks/video_identities.py [--seeds 0 1 2] [--other 10] [--frames 600]

For each seed the video is drawn and cropped, the crops are trained on without a label
(``dataset=synthetic_video experiment=dccc_plus``), and ``task=identify`` gives every tracklet an
identity, with and without cuts where people were exchanged. Above that stands the best that whole
tracks allow, to each the identity that most of its boxes show, and the best that cuts between crops
allow. The alternative clusters the mean embeddings of the tracklets by the source network:
agglomerative clustering (average linkage, cosine), with the threshold that is best on the video of
``--other``. Scores are per cent: IDF1 over all cameras, and of the given tracks within each camera.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.cluster import AgglomerativeClustering

from dccc_lightning import load_embedder
from dccc_lightning.data.synthetic.video import (
    TRACKERS,
    TRUTH,
    SyntheticVideo,
    camera_names,
)
from dccc_lightning.data.synthetic.video_crops import FOLDER, TABLE, identities_of
from dccc_lightning.data.tracks import read_tracks, with_identities
from dccc_lightning.metrics import identity_f1

COLUMNS = ("camera", "frame", "identity", "x1", "y1", "x2", "y2")


def boxes(
    video: SyntheticVideo, file: str, names: Mapping[str, str] | Path | None = None
) -> pa.Table:
    """Return the boxes of all cameras.

    ``names`` gives identities to tracklets (camera/track), or is the file of them.
    """
    tables = []
    for camera in camera_names(video.world):
        form = "mot17" if file == TRUTH else "mot15"
        table = read_tracks(video.folder / camera / file, form)
        tracks = table["track"].to_pylist()
        if file != TRUTH:
            tracks = [f"{camera}/{track}" for track in tracks]
        if isinstance(names, Path):
            tracks = with_identities(table, camera, names)["identity"].to_pylist()
        elif names is not None:
            tracks = [names.get(track) for track in tracks]
        table = table.append_column("camera", pa.array([camera] * len(table)))
        frames = table["frame"].to_pylist()
        seen: set[tuple[int, str]] = set()
        for at, here in enumerate(zip(frames, tracks, strict=True)):
            if here in seen:  # nobody is there twice: the second box is of an identity of its own
                tracks[at] = None
            seen.add(here)
        tables.append(table.append_column("identity", pa.array(tracks, pa.string())))
    return pa.concat_tables([table.select(COLUMNS) for table in tables])


def tracklet_means(video: SyntheticVideo) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Return the tracklets with crops, and the mean embeddings of the source network."""
    table = pq.read_table(video.folder / FOLDER / TABLE)
    paths = [video.folder / FOLDER / path for path in table["path"].to_pylist()]
    rows = np.asarray(load_embedder("bundled").embed(paths))
    names, places = np.unique(table["tracklet"].to_pylist(), return_inverse=True)
    means = np.stack([rows[places == at].mean(axis=0) for at in range(len(names))])
    return names.tolist(), means / np.linalg.norm(means, axis=1, keepdims=True)


def perfect(video: SyntheticVideo) -> dict[str, str]:
    """Return the true identity of most boxes of each track."""
    found = {}
    for camera in camera_names(video.world):
        place = video.folder / camera
        table = read_tracks(place / TRACKERS[video.world.tracks], "mot15")
        own = np.array(identities_of(table, read_tracks(place / TRUTH, "mot17")))
        tracks = np.array(table["track"].to_pylist())
        for track in np.unique(tracks).tolist():
            seen = own[(tracks == track) & (own >= 0)]
            if len(seen):
                found[f"{camera}/{track}"] = str(np.bincount(seen).argmax())
    return found


def of_crops(video: SyntheticVideo, folder: Path) -> Path:
    """Write the true identity of each crop: the most that cuts between crops allow."""
    table = pq.read_table(video.folder / FOLDER / TABLE)
    own = [None if who < 0 else str(who) for who in table["identity"].to_pylist()]
    table = table.select(["tracklet", "frame"]).append_column("identity", pa.array(own))
    pq.write_table(table.filter(pc.is_valid(table["identity"])), folder / "true.parquet")
    return folder / "true.parquet"


def agglomerated(names: list[str], rows: np.ndarray[Any, Any], threshold: float) -> dict[str, str]:
    """Return an identity for each tracklet."""
    clusters = AgglomerativeClustering(
        None, metric="cosine", linkage="average", distance_threshold=threshold
    ).fit_predict(rows)
    return dict(zip(names, map(str, clusters), strict=True))


def identified(video: SyntheticVideo, arguments: list[str], folder: Path) -> list[Path]:
    """Train on the crops and identify them, without cuts of tracklets and with them."""
    own = [f"dataset.{name}={value}" for name, value in arguments_of(video).items()]
    command = [sys.executable, "-m", "dccc_lightning"]
    if not (folder / "run" / "results.json").exists():
        train = ["dataset=synthetic_video", *own, *arguments, f"output={folder}/run"]
        subprocess.run([*command, *train], check=True, stdout=subprocess.DEVNULL)
    table, found = video.folder / FOLDER / TABLE, []
    for cut in ("false", "true"):
        place = folder / f"cut_{cut}"
        identify = [f"ckpt={folder}/run", f"input={table}", f"output={place}", "camera=whiten"]
        identify += [f"cut_tracklets={cut}"]
        subprocess.run(
            [*command, "task=identify", *identify], check=True, stdout=subprocess.DEVNULL
        )
        found.append(place / "identities.csv")
    return found


def arguments_of(video: SyntheticVideo) -> dict[str, Any]:
    """Return the settings in which a video differs from the default."""
    return {name: getattr(video.world, name) for name in ("seed", "frames", "identities")}


def main() -> None:
    """Print a table with a row for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--other", type=int, default=10)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--identities", type=int, default=40)
    parser.add_argument("--folder", help="keep the runs here, SEED/run, and use those that are")
    options, arguments = parser.parse_known_args()
    shape = {"frames": options.frames, "identities": options.identities}
    arguments = arguments or ["experiment=dccc_plus"]

    def drawn(seed: int) -> SyntheticVideo:
        video = SyntheticVideo(seed=seed, **shape)
        video.drawn()
        return video

    other = drawn(options.other)
    truth, source = boxes(other, TRUTH), tracklet_means(other)
    tracks = TRACKERS[other.world.tracks]
    scores = {
        threshold: identity_f1(truth, boxes(other, tracks, agglomerated(*source, threshold)))[
            "idf1"
        ]
        for threshold in np.arange(0.05, 0.9, 0.025).round(3).tolist()
    }
    threshold = max(scores, key=scores.__getitem__)
    print(f"agglomerative: threshold {threshold} ({100 * scores[threshold]:.1f} on its own video)")
    print("seed  tracks within cameras  perfect  perfect crops  agglomerative  whole  cut")
    for seed in options.seeds:
        video = drawn(seed)
        truth = boxes(video, TRUTH)
        within = identity_f1(truth, boxes(video, tracks))["per_camera"]
        plain = agglomerated(*tracklet_means(video), threshold)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) if options.folder is None else Path(options.folder) / f"{seed}"
            ours = identified(video, arguments, folder)
            ways = (perfect(video), of_crops(video, folder), plain, *ours)
            found = [100 * identity_f1(truth, boxes(video, tracks, way))["idf1"] for way in ways]
        single = 100 * np.mean([each["idf1"] for each in within.values()])
        print(f"{seed:4}{single:23.1f}", *(f"{score:9.1f}" for score in found), flush=True)


if __name__ == "__main__":
    main()
