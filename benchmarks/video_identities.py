"""From a drawn video to identities over all cameras, beside a plain alternative; IDF1 by the truth.

    python benchmarks/video_identities.py [--seeds 0 1 2] [--other 10] [--frames 600]

For each seed the video is drawn and cropped, the crops are trained on without a label
(``dataset=synthetic_video experiment=dccc_plus``), and ``task=identify`` gives every tracklet an
identity: by the crops of the training, and by ``--crops`` of each tracklet, with and without cuts
where people were exchanged. Above that stands the best that whole tracks allow, to each the
identity that most of its boxes show, and the best that cuts between crops allow. The alternative
clusters the mean embeddings of the tracklets by the source network: agglomerative clustering
(average linkage, cosine), with the threshold that is best on the video of ``--other``. Scores are
per cent: IDF1 over all cameras, and of the given tracks within each camera. The second line of each
seed has gaps of up to ``--longest`` frames filled, in the given tracks too.
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
    FRAMES,
    TRACKERS,
    TRUTH,
    SyntheticVideo,
    camera_names,
)
from dccc_lightning.data.synthetic.video_crops import FOLDER, TABLE, identities_of
from dccc_lightning.data.tracks import fill_gaps, read_tracks, with_identities
from dccc_lightning.data.video import crop_tracks
from dccc_lightning.metrics import identity_f1

COLUMNS = ("camera", "frame", "identity", "x1", "y1", "x2", "y2")


def boxes(
    video: SyntheticVideo,
    file: str,
    names: Mapping[str, str] | Path | None = None,
    longest: int = 0,
) -> pa.Table:
    """Return the boxes of all cameras, with gaps of up to ``longest`` frames filled.

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
        table = table.append_column("identity", pa.array(tracks, pa.string()))
        tables.append(fill_gaps(table, longest))
    return pa.concat_tables([table.select(COLUMNS) for table in tables])


def cropped(video: SyntheticVideo, per_tracklet: int, folder: Path) -> Path:
    """Cut crops of the tracks of all cameras as ``task=crop`` does, and return their table."""
    file = folder / f"crops_{video.world.seed}_{per_tracklet}" / TABLE
    tables = []
    for camera in [] if file.exists() else camera_names(video.world):
        place = video.folder / camera
        tracks = read_tracks(place / TRACKERS[video.world.tracks], "mot15")
        own = {"per_tracklet": per_tracklet, "margin": video.world.margin}
        report = crop_tracks(tracks, place / FRAMES, file.parent, camera, **own)
        who = identities_of(report.table, read_tracks(place / TRUTH, "mot17"))
        tables.append(report.table.append_column("person", pa.array(who)))
    if tables:
        pq.write_table(pa.concat_tables(tables), file)
    return file


def tracklet_means(file: Path) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Return the tracklets of a table of crops, and their mean embeddings by the source network."""
    table = pq.read_table(file)
    paths = [file.parent / path for path in table["path"].to_pylist()]
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


def of_crops(file: Path, folder: Path) -> Path:
    """Write the true identity of each crop: the most that cuts between crops allow."""
    table = pq.read_table(file)
    own = [None if who < 0 else str(who) for who in table["person"].to_pylist()]
    table = table.select(["tracklet", "frame"]).append_column("identity", pa.array(own))
    pq.write_table(table.filter(pc.is_valid(table["identity"])), folder / "true.parquet")
    return folder / "true.parquet"


def agglomerated(names: list[str], rows: np.ndarray[Any, Any], threshold: float) -> dict[str, str]:
    """Return an identity for each tracklet."""
    clusters = AgglomerativeClustering(
        None, metric="cosine", linkage="average", distance_threshold=threshold
    ).fit_predict(rows)
    return dict(zip(names, map(str, clusters), strict=True))


def identified(
    video: SyntheticVideo, arguments: list[str], crops: Path, folder: Path
) -> list[Path]:
    """Train on crops and identify these, then ``crops`` without cuts of tracklets and with them."""
    own = [f"dataset.{name}={value}" for name, value in arguments_of(video).items()]
    command = [sys.executable, "-m", "dccc_lightning"]
    if not (folder / "run" / "results.json").exists():
        train = ["dataset=synthetic_video", *own, *arguments, f"output={folder}/run"]
        subprocess.run([*command, *train], check=True, stdout=subprocess.DEVNULL)
    found = []
    for table, cut in ((video.folder / FOLDER / TABLE, True), (crops, False), (crops, True)):
        place = folder / f"identities_{len(found)}"
        identify = [f"ckpt={folder}/run", f"input={table}", f"output={place}", "camera=whiten"]
        identify += [f"cut_tracklets={cut}".lower()]
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
    parser.add_argument("--crops", type=int, default=24)
    parser.add_argument("--longest", type=int, default=20)
    parser.add_argument("--folder", help="keep the runs here, SEED/run, and use those that are")
    options, arguments = parser.parse_known_args()
    shape = {"frames": options.frames, "identities": options.identities}
    arguments = arguments or ["experiment=dccc_plus"]

    def drawn(seed: int) -> SyntheticVideo:
        video = SyntheticVideo(seed=seed, **shape)
        video.drawn()
        return video

    with tempfile.TemporaryDirectory() as scratch:
        home = Path(options.folder or scratch)
        other = drawn(options.other)
        truth, source = boxes(other, TRUTH), tracklet_means(cropped(other, options.crops, home))
        tracks = TRACKERS[other.world.tracks]
        scores = {
            threshold: identity_f1(truth, boxes(other, tracks, agglomerated(*source, threshold)))[
                "idf1"
            ]
            for threshold in np.arange(0.05, 0.9, 0.025).round(3).tolist()
        }
        threshold = max(scores, key=scores.__getitem__)
        best = 100 * scores[threshold]
        print(f"agglomerative: threshold {threshold} ({best:.1f} on its own video)")
        names = "within cameras", "perfect", "perfect crops", "agglomerative", "few crops", "whole"
        print("seed  gaps", *(f"{name:>14}" for name in (*names, "cut")))
        for seed in options.seeds:
            video, folder = drawn(seed), home / f"{seed}"
            crops = cropped(video, options.crops, home)
            ours = identified(video, arguments, crops, folder)
            plain = agglomerated(*tracklet_means(crops), threshold)
            ways = (perfect(video), of_crops(crops, folder), plain, *ours)
            truth = boxes(video, TRUTH)
            for longest in (0, options.longest):
                within = identity_f1(truth, boxes(video, tracks, None, longest))["per_camera"]
                found = [np.mean([each["idf1"] for each in within.values()])]
                found += [
                    identity_f1(truth, boxes(video, tracks, way, longest))["idf1"] for way in ways
                ]
                print(f"{seed:4}{longest:6}", *(f"{100 * f:14.1f}" for f in found), flush=True)


if __name__ == "__main__":
    main()
