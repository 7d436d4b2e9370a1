"""Crops of tracks against OpenCV's bare reader, in one run: frames per second and peak memory.

    pip install opencv-python-headless
    python benchmarks/crops.py --frames 600 --size 1280 720

A clip of moving people on a textured floor is drawn, and one twice as long. OpenCV only reads every
frame; task=crop's function decodes, chooses, cuts and writes crops. Each measurement is a process
of its own, by turns; speeds are medians. Memory must not grow with the clip.
"""

import argparse
import importlib
import importlib.util
import multiprocessing
import os
import re
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa

PEOPLE, LIFE = 12, 120
"""People at a time, and frames until the next ones come."""


def boxes_of(number: int, size: tuple[int, int]) -> list[tuple[str, int, int, int, int]]:
    """Return name and box of everybody in a frame."""
    found = []
    for slot in range(PEOPLE):
        x = (slot * size[0] // PEOPLE + 2 * number) % (size[0] - 60)
        y = size[1] // 4 + 20 * (slot % 4)
        found.append((f"{slot}-{number // LIFE}", x, y, x + 60, y + 160))
    return found


def draw(path: Path, frames: int, size: tuple[int, int]) -> pa.Table:
    """Write the clip and return its boxes."""
    import av  # noqa: PLC0415  # looked for first

    rng = np.random.default_rng(0)
    floor = rng.integers(60, 120, (size[1], size[0], 3)).astype(np.uint8)
    rows = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            picture = floor.copy()
            for slot, (name, x1, y1, x2, y2) in enumerate(boxes_of(number, size)):
                picture[y1:y2, x1:x2] = (20 * slot, 255 - 20 * slot, 128)
                rows.append((number, name, x1, y1, x2, y2, 1.0))
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    names = ("frame", "track", "x1", "y1", "x2", "y2", "score")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    corners = {name: np.array(columns[name], float) for name in names[2:]}
    return pa.table({**columns, **corners})


def read(path: Path) -> tuple[int, int]:
    """Read every frame with OpenCV."""
    import cv2  # noqa: PLC0415  # not a dependency

    capture, frames = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        frames += 1
    return frames, 0


def crop(path: Path, tracks: pa.Table, folder: Path) -> tuple[int, int]:
    """Write crops with this package."""
    from dccc_lightning.data.video import crop_tracks  # noqa: PLC0415  # by one process of two

    report = crop_tracks(tracks, path, folder, "hall")
    return report.frames, len(report.table)


def peak() -> float:
    """Return the peak memory of this process in megabytes."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def measured(queue: multiprocessing.Queue, name: str, path: Path, tracks: pa.Table) -> None:
    """Put frames per second, crops and megabytes beyond those before the work."""
    importlib.import_module("cv2" if name == "opencv" else "dccc_lightning.data.video.video_file")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = peak()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        frames, crops = read(path) if name == "opencv" else crop(path, tracks, Path(folder))
        seconds = time.perf_counter() - start
    queue.put((frames / seconds, crops, peak() - before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if missing := [name for name in ("av", "cv2") if importlib.util.find_spec(name) is None]:
        print(f"not measured: {', '.join(missing)} not installed")
        return
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        print(f"{options.size[0]} x {options.size[1]}, {os.cpu_count()} cores")
        for frames in (options.frames, 2 * options.frames):
            path = Path(folder) / f"{frames}.mp4"
            tracks = draw(path, frames, tuple(options.size))
            results: dict[str, list[tuple[float, int, float]]] = {"opencv": [], "crops": []}
            for _ in range(options.repeats):
                for name, found in results.items():
                    queue = spawn.Queue()
                    process = spawn.Process(target=measured, args=(queue, name, path, tracks))
                    process.start()
                    found.append(queue.get())
                    process.join()
            speed = {name: statistics.median(r[0] for r in rs) for name, rs in results.items()}
            memory = {name: max(r[2] for r in rs) for name, rs in results.items()}
            print(
                f"{frames:,} frames: OpenCV reads {speed['opencv']:.0f} frames/s, crops "
                f"{speed['crops']:.0f} ({results['crops'][0][1]} written), ratio "
                f"{speed['crops'] / speed['opencv']:.2f}; memory {memory['opencv']:.0f} and "
                f"{memory['crops']:.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
