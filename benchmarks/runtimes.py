"""Exported networks against torch: milliseconds an image, all files in turn in one process.

    python benchmarks/runtimes.py --weights mobilenet_v2_imagenet.pth

A MobileNetV2 is exported to ONNX and OpenVINO in each precision, the saved files are loaded, and a
round runs each of them once, so that other jobs slow all of them down. Times are of the processor,
over all threads, to which other jobs do not add; in two threads an image takes half of it or more
by the clock. Medians over the rounds, and of the ratio to torch in the same round. Speed does not
depend on the weights.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dccc_lightning.data.synthetic.camera import cameras
from dccc_lightning.data.synthetic.wardrobe import person
from dccc_lightning.inference.checked_export import decoded, written
from dccc_lightning.inference.image_embedder import ImageEmbedder, Origin
from dccc_lightning.inference.precision import LIMITS
from dccc_lightning.inference.runtimes import RUNTIMES, processor, runner
from dccc_lightning.models.embedder import build_embedder

FORMATS = ["onnx", "openvino"]


def draw(folder: Path, number: int, size: tuple[int, int]) -> list[Path]:
    """Draw pedestrians."""
    camera = cameras(0, 1, 0.0, *size)[0]
    for who in range(number):
        rng = np.random.default_rng(who)
        camera.photograph(person(0, who), *size, rng, rng).save(folder / f"{who:03}.png")
    return sorted(folder.glob("*.png"))


def exported(folder: Path, embedder: ImageEmbedder, pixels: np.ndarray) -> dict[str, Path]:
    """Write the file of each precision and runtime."""
    files = {}
    for precision in LIMITS:
        calibration = pixels if precision == "int8" else None
        for main, contents in written(embedder, FORMATS, precision, calibration).items():
            place = folder / precision
            place.mkdir(exist_ok=True)
            for name, content in contents.items():
                (place / name).write_bytes(content)
            files[f"{precision} {RUNTIMES[main]}"] = place / main
    return files


def rounds(
    runs: dict[str, Callable[[np.ndarray], object]], pixels: np.ndarray, number: int
) -> dict[str, list[float]]:
    """Return the milliseconds an image of each run in each round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(number + 1):
        for name, run in runs.items():
            start = time.process_time()
            run(pixels)
            if turn:  # the first one warms up
                times[name].append(1000 * (time.process_time() - start) / len(pixels))
    return times


def main() -> None:
    """Print milliseconds an image and the ratio to torch, of each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", help="file of torchvision's MobileNetV2; random without")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128))
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    torch.manual_seed(0)
    size, model = tuple(options.size), {"backbone": "mobilenet_v2", "bn_group_size": 64}
    network = build_embedder("mobilenet_v2", weights=options.weights, image_size=size)
    origin = Origin("weights", "student", model, *size, "unknown")
    embedder = ImageEmbedder(network, origin, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as name:
        images = draw(Path(name), 32, size)
        pixels = decoded(images, embedder)
        files = exported(Path(name), embedder, pixels)
        print(f"{processor()}, {os.cpu_count()} cores, torch {torch.__version__}")
        for threads in (1, 2):
            torch.set_num_threads(threads)
            runs = {"torch": lambda images: embedder.rows(torch.from_numpy(images))}
            runs |= {name: runner(file, threads) for name, file in files.items()}
            for batch in (1, 32):
                number = options.rounds if batch == 1 else -(-options.rounds // 4)
                times = rounds(runs, pixels[:batch], number)
                print(f"{threads} threads, batch {batch}", flush=True)
                for file, own in times.items():
                    ratio = statistics.median(np.divide(own, times["torch"]))
                    print(f"  {file:16} {statistics.median(own):7.2f} ms, {ratio:.2f} of torch")


if __name__ == "__main__":
    main()
