"""IDF1 of a million boxes over ten cameras: seconds and peak memory, beside half as many.

    python benchmarks/identities.py --boxes 1000000

The tracker loses people, swaps names and leaves a part of the boxes without a track. Memory is what
NumPy asks for beyond the two tables; it has to grow as the number of boxes does.
"""

import argparse
import time
import tracemalloc

import numpy as np
import pyarrow as pa

from dccc_lightning.metrics import identity_f1

CAMERAS, PER_FRAME = 10, 50


def world(count: int, people: int, unnamed: float) -> tuple[pa.Table, pa.Table]:
    """Return true boxes, and those of a tracker whose names last for 5 to 60 frames."""
    rng = np.random.default_rng(0)
    frames = count // (CAMERAS * PER_FRAME)
    camera = np.repeat(np.arange(CAMERAS), frames * PER_FRAME)
    frame = np.tile(np.repeat(np.arange(frames), PER_FRAME), CAMERAS)
    slot = np.tile(np.arange(PER_FRAME), CAMERAS * frames)
    person = (slot * (people // PER_FRAME) + frame // 40 + 17 * camera) % people
    x, y = rng.uniform(0, 1800, len(camera)), rng.uniform(0, 900, len(camera))
    width = rng.uniform(20, 60, len(camera))
    corners = np.stack([x, y, x + width, y + 2.5 * width], axis=1)
    names = person * 1000 + frame // rng.integers(5, 60, people)[person]
    found = np.where(rng.random(len(names)) < unnamed, None, names.astype(str).astype(object))
    moved = corners + rng.normal(0, 1, (len(corners), 1))

    def table(identity: object, corners: np.ndarray) -> pa.Table:
        columns = dict(zip(("x1", "y1", "x2", "y2"), corners.T, strict=True))
        cameras = np.char.add("cam", camera.astype(str))
        return pa.table(
            {
                "camera": cameras,
                "frame": frame,
                "identity": pa.array(identity, pa.string()),
                **columns,
            }
        )

    return table(person.astype(str), corners), table(found, moved)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--boxes", type=int, default=1_000_000)
    options = parser.parse_args()
    print("boxes      people  unnamed  seconds  MB    bytes a box  IDF1")
    for people, unnamed in ((400, 0.0), (400, 0.5), (20_000, 0.05)):
        for count in (options.boxes // 2, options.boxes):
            truth, predicted = world(count, people, unnamed)
            start = time.perf_counter()
            score = identity_f1(truth, predicted)["idf1"]
            seconds = time.perf_counter() - start
            tracemalloc.start()
            identity_f1(truth, predicted)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            print(
                f"{count:<10,} {people:<7,} {unnamed:<8} {seconds:<8.1f} {peak / 1e6:<5.0f} "
                f"{peak / count:<12.0f} {score:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
