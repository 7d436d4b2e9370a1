"""Exported networks in the runtimes that serve them, loaded from their files."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dccc_lightning.errors import UserError
from dccc_lightning.inference.exporting import INPUT, OUTPUT

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Function that runs an exported network: (B, 3, H, W) to (B, D)."""

RUNTIMES = {"model.onnx": "onnxruntime", "model.pt2": "torch.export", "model.xml": "OpenVINO"}
"""Runtime of each file."""

HINT = "INFERENCE_PRECISION_HINT"
"""Property of OpenVINO; by default processors with bfloat16 compute in it."""

MEASURE_SECONDS = 0.5
"""Minimum duration of each measurement of speed."""


def runner(file: Path, threads: int | None = None) -> Run:
    """Load an exported network without this package's code, on the CPU.

    Args:
        file: A .onnx, .pt2 or .xml; of OpenVINO, computing in float32.
        threads: Number of threads, torch's if None; of a .pt2 always torch's.

    Raises:
        UserError: OpenVINO does not compute in float32 on this processor.
    """
    threads = threads or torch.get_num_threads()
    return {".pt2": _torch, ".onnx": _onnxruntime, ".xml": _openvino}[file.suffix](file, threads)


def _torch(file: Path, threads: int) -> Run:
    network = torch.export.load(file).module()

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            embeddings: NDArray[np.float32] = network(torch.from_numpy(images)).numpy()
        return embeddings

    return run


def _onnxruntime(file: Path, threads: int) -> Run:
    import onnxruntime  # noqa: PLC0415  # of the export extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images})[0]
        return embeddings

    return run


def _openvino(file: Path, threads: int) -> Run:
    import openvino  # noqa: PLC0415  # of the runtimes extra

    compiled = openvino.Core().compile_model(
        file, "CPU", {HINT: openvino.Type.f32, "INFERENCE_NUM_THREADS": threads}
    )
    if (used := compiled.get_property(HINT)) != openvino.Type.f32:  # ignored silently
        raise UserError(f"OpenVINO computes in {used.get_type_name()} here, not in f32")
    request = compiled.create_infer_request()

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = request.infer({INPUT: images})[OUTPUT].copy()
        return embeddings

    return run


def milliseconds(run: Run, images: NDArray[np.uint8]) -> float:
    """Measure the time of an image as the median over repeated runs, without the first."""
    run(images)
    times: list[float] = []
    while sum(times) < MEASURE_SECONDS or len(times) < 3:
        start = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times) / len(images)


def processor() -> str:
    """Return the name of the processor, and if it multiplies 8-bit numbers exactly (VNNI)."""
    try:
        rows = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "an unknown processor"
    entries = dict(row.split(":", 1) for row in reversed(rows) if ":" in row)
    facts = {key.strip(): value.strip() for key, value in entries.items()}
    vnni = "with" if "vnni" in facts.get("flags", "") else "without"
    return f"{facts.get('model name', 'an unknown processor')} {vnni} VNNI"
