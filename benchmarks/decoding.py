"""Decoding of image files by Pillow and by TorchCodec, and augmentation: images per second.

    python benchmarks/decoding.py                               # 20,000 crops of 256 x 128
    python benchmarks/decoding.py --images 2000 --device cuda   # with nvJPEG and augmentation there

The crops are drawn, low frequencies and noise, as JPEG of quality 90. Cold: the kernel is told to
forget the files before each turn. Processor time is of one thread; images per second are of as
many threads as cores, each decoder by turns. The memory of a worker is what a loader's process
adds after it has decoded a thousand images (Linux: private and proportional shared pages).
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dccc_lightning.data import torchcodec_jpeg
from dccc_lightning.data.augmentation import BatchAugmentation
from dccc_lightning.data.decoding import decode_image

DECODERS = ("pillow", "torchcodec")
BY_TORCHCODEC = torchcodec_jpeg.decode
BATCH = 256


def draw(folder: Path, number: int, height: int, width: int) -> list[str]:
    """Write JPEG files."""
    rng = np.random.default_rng(0)
    for at in range(number):
        blocks = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        smooth = Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)
        noise = rng.integers(-8, 9, (height, width, 3), dtype=np.int16)
        pixels = np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{at:06d}.jpg", quality=90)
    return sorted(str(path) for path in folder.glob("*.jpg"))


def forget(files: list[str]) -> None:
    """Let the kernel drop the files from its cache."""
    for name in files:
        handle = os.open(name, os.O_RDONLY)
        try:
            os.fdatasync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def use(decoder: str) -> None:
    """Let Pillow decode everything in this process, or TorchCodec what it can."""
    torchcodec_jpeg.decode = BY_TORCHCODEC if decoder == "torchcodec" else lambda path: None


def rate(files: list[str], size: tuple[int, int], threads: int) -> tuple[float, float]:
    """Return images per second and processor microseconds an image."""
    start, busy = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda name: decode_image(name, *size).shape, files, chunksize=16):
            pass
    wall, busy = time.perf_counter() - start, time.process_time() - busy
    return len(files) / wall, 1e6 * busy / len(files)


def memory_of_worker(
    queue: multiprocessing.Queue, decoder: str, files: list[str], size: tuple[int, int]
) -> None:
    """Put the megabytes that decoding has added to a forked process."""
    use(decoder)
    before = proportional()
    for name in files[:1000]:
        decode_image(name, *size)
    queue.put(proportional() - before)


def proportional() -> float:
    """Return the proportional set size of this process in megabytes (Linux)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def decoders(files: list[str], size: tuple[int, int], cold: bool, turns: int) -> dict[str, Any]:
    """Measure each decoder by turns."""
    names = DECODERS if torchcodec_jpeg.available() else DECODERS[:1]
    threads = len(os.sched_getaffinity(0))
    found: dict[str, Any] = {name: {"microseconds": [], "per_second": []} for name in names}
    for _ in range(turns):
        for name, figures in found.items():
            use(name)
            if cold:
                forget(files)
            figures["per_second"].append(rate(files, size, threads)[0])
            if cold:
                forget(files)
            figures["microseconds"].append(rate(files, size, 1)[1])
    return {
        name: {key: statistics.median(values) for key, values in figures.items()}
        for name, figures in found.items()
    }


def workers(files: list[str], size: tuple[int, int], names: list[str]) -> dict[str, float]:
    """Return the megabytes of a worker by decoder."""
    fork, found = multiprocessing.get_context("fork"), {}
    for name in names:
        queue = fork.Queue()
        process = fork.Process(target=memory_of_worker, args=(queue, name, files, size))
        process.start()
        found[name] = queue.get()
        process.join()
    return found


def agreement(files: list[str], size: tuple[int, int]) -> int:
    """Return how many files both decoders give the same pixels for."""
    both = []
    for name in DECODERS:
        use(name)
        both.append([decode_image(file, *size) for file in files])
    return sum(np.array_equal(a, b) for a, b in zip(*both, strict=True))


def by_nvjpeg(files: list[str], device: torch.device) -> dict[str, Any]:
    """Measure TorchCodec's decoder on the GPU, and how far its pixels are from Pillow's."""
    from torchcodec.decoders import decode_jpeg  # noqa: PLC0415  # an extra

    data = [Path(name).read_bytes() for name in files]
    decode_jpeg(data[:BATCH], device=device)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for at in range(0, len(data), BATCH):
        images = decode_jpeg(data[at : at + BATCH], device=device)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    image = images[-1].cpu().numpy().transpose(1, 2, 0).astype(int)
    gap = np.abs(image - np.asarray(Image.open(files[-1]).convert("RGB"))).max()
    return {"per_second": len(data) / seconds, "largest_gap": int(gap)}


def augmented(device: torch.device, size: tuple[int, int]) -> float:
    """Return augmented views per second."""
    images = torch.randint(0, 256, (BATCH, 3, *size), dtype=torch.uint8, device=device)
    keys = torch.stack([torch.zeros(BATCH), torch.zeros(BATCH), torch.arange(BATCH)], dim=1)
    keys, augmentation = keys.long().to(device), BatchAugmentation(*size)
    repeats = 50 if device.type == "cuda" else 3
    waits: Callable[[], object] = torch.cuda.synchronize if device.type == "cuda" else int
    augmentation(images, keys, 1)
    waits()
    start = time.perf_counter()
    for view in range(repeats):
        augmentation(images, keys, view)
    waits()
    return repeats * BATCH / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="of the crops, drawn if it is empty")
    parser.add_argument("--cold", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--json", type=Path, help="file for the figures, written after each part")
    options = parser.parse_args()
    size = options.height, options.width
    found: dict[str, Any] = {
        "device": str(options.device), "images": options.images,
        "height": size[0], "width": size[1], "threads": len(os.sched_getaffinity(0)),
    }  # fmt: skip

    def note(name: str, value: Any) -> None:
        found[name] = value
        print(f"{name:12} {value}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(found))

    note("augmented_per_second", augmented(options.device, size))
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        files = sorted(str(path) for path in folder.glob("*.jpg"))
        files = files or draw(folder, options.images, *size)
        forks = options.device.type == "cpu"  # a process with a CUDA context should not fork
        if forks:
            names = list(DECODERS if torchcodec_jpeg.available() else DECODERS[:1])
            note("worker_mb", workers(files, size, names))
        note("warm", decoders(files, size, False, options.turns))
        if options.cold:
            note("cold", decoders(files, size, True, options.turns))
        if torchcodec_jpeg.available():
            note("same_pixels", agreement(files[:1000], size))
            if options.device.type == "cuda":
                note("nvjpeg", by_nvjpeg(files, options.device))


if __name__ == "__main__":
    main()
