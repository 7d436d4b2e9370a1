"""Exported networks in half precision and in 8 bits, and as OpenVINO's files."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.inference.exporting import INPUT

LIMITS = {"f32": 1e-6, "f16": 1e-3, "int8": 0.02}
"""Largest 1 - cosine of an image to its embedding by the module, by precision."""

CALIBRATION_BATCH = 16


def to_f16(content: bytes) -> bytes:
    """Convert an ONNX network to half precision; its input and output keep their types."""
    import onnx  # noqa: PLC0415  # of the export extra
    from onnxconverter_common import float16  # noqa: PLC0415  # of the runtimes extra

    model = onnx.load_model_from_string(content)
    # The converter would declare the output of a cast from bytes as half, and cast to float.
    casts = [node.name for node in model.graph.node if node.op_type == "Cast"]
    half = float16.convert_float_to_float16(model, keep_io_types=True, node_block_list=casts)
    return _serialized(half, model)


def to_int8(content: bytes, pixels: NDArray[np.uint8]) -> bytes:
    """Quantise an ONNX network.

    Weights are unsigned, in steps by channel around 128, since processors without VNNI overflow on
    signed ones. onnxruntime's own unsigned weights are half a step off, so signed ones are shifted.

    Args:
        content: ONNX network.
        pixels: (N, 3, H, W) images from which the ranges of the activations are taken.
    """
    import onnx  # noqa: PLC0415  # of the export extra
    from onnxruntime import quantization  # noqa: PLC0415  # of the export extra
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # without types
        def __init__(self) -> None:
            self.batches = iter(np.array_split(pixels, -(-len(pixels) // CALIBRATION_BATCH)))

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    with TemporaryDirectory() as folder, _without_advice():
        given, prepared, quantised = (Path(folder) / f"{n}.onnx" for n in ("a", "b", "c"))
        given.write_bytes(content)
        quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(quantised),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        model = onnx.load_model(quantised)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8:
            values = onnx.numpy_helper.to_array(tensor).astype(np.int16) + 128
            shifted = onnx.numpy_helper.from_array(values.astype(np.uint8), tensor.name)
            tensor.CopyFrom(shifted)
    return _serialized(model, onnx.load_model_from_string(content))


def to_openvino(content: bytes, about: Mapping[str, Any], halves: bool) -> dict[str, bytes]:
    """Convert an ONNX network to OpenVINO's two files.

    Args:
        content: ONNX network.
        about: Description of the network, for the file.
        halves: Store weights in half precision, which OpenVINO does by default.
    """
    import openvino  # noqa: PLC0415  # of the runtimes extra
    from openvino._offline_transformations import (  # noqa: PLC0415
        apply_moc_transformations,
    )

    with TemporaryDirectory() as folder:
        given, written = Path(folder) / "given.onnx", Path(folder) / "model.xml"
        given.write_bytes(content)
        model = openvino.Core().read_model(given)
        # Without these, OpenVINO 2026.4 computes otherwise from the steps of 8 bits (1 - cosine
        # 0.3). Its convert_model applies them too, but reports its use to its makers.
        apply_moc_transformations(model, cf=False, smart_reshape=True)
        model.set_friendly_name("embedder")
        for key, value in about.items():
            model.set_rt_info(str(value), ["dccc_lightning", key])
        openvino.save_model(model, written, compress_to_fp16=halves)
        return {path.name: path.read_bytes() for path in (written, written.with_suffix(".bin"))}


def _serialized(model: Any, original: Any) -> bytes:
    """Serialise with the metadata of the network that was converted."""
    del model.metadata_props[:]
    model.metadata_props.extend(original.metadata_props)
    content: bytes = model.SerializeToString()
    return content


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence the warnings of the quantiser, which speak of its own preparation."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
