"""Export of trained networks to ONNX and ``torch.export``, which run without this package."""

import copy
import io
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from dccc_lightning.data.augmentation import IMAGENET_MEAN, IMAGENET_STD
from dccc_lightning.errors import UserError
from dccc_lightning.inference.image_embedder import ImageEmbedder
from dccc_lightning.models.turned_images import embed_turns
from dccc_lightning.neighbors.turned_rows import to_rows

FORMATS = ("onnx", "pt2", "openvino")
INPUT, OUTPUT = "images", "embeddings"
ABOUT = "dccc_lightning.json"
"""Name of the extra file in a ``.pt2`` that describes the network."""

PRECISIONS = ("f32", "f16", "int8")


class WithNormalization(nn.Module):
    """Network with its normalisation, from uint8 images to embeddings.

    The input is uint8, since the range of float images would be ambiguous (1, 255 or normalised).
    Resizing is not included: the formats have no antialiased bicubic resizing that equals Pillow's.

    Args:
        network: Module that maps normalised images to embeddings.
        rotations: Quarter turns of an image; above 1 for square images only.
        aligned: Return the turns as a row, see ``neighbors.turned_rows``, in place of their mean.
    """

    def __init__(self, network: nn.Module, rotations: int = 1, aligned: bool = False) -> None:
        super().__init__()
        self.network, self.rotations, self.aligned = network, rotations, aligned
        mean, std = (
            torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", mean / std)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return rows of length 1, (B, row_dim) float32, of RGB images (B, 3, H, W) uint8."""
        pixels = images.float() * self.scale - self.shift
        if self.rotations > 1:
            turns = [pixels.rot90(turn, (2, 3)) for turn in range(self.rotations)]
            pixels = torch.stack(turns, dim=1)
        return to_rows(embed_turns(self.network, pixels, self.aligned))


def require_packages(formats: Sequence[str], precision: str = "f32") -> None:
    """Check that the packages for writing and checking ``formats`` are installed.

    Raises:
        UserError: A package is missing.
    """
    needed = [] if set(formats) <= {"pt2"} else ["onnx", "onnxscript", "onnxruntime"]
    further = ["openvino"] if "openvino" in formats else []
    further += ["onnxconverter_common"] if precision == "f16" and "onnx" in formats else []
    missing = [name for name in (*needed, *further) if find_spec(name) is None]
    if missing:
        extra = "runtimes" if set(missing) & set(further) else "export"
        raise UserError(
            f"format: needs {', '.join(missing)}: pip install 'dccc-lightning[{extra}]', or "
            "format=pt2"
        )


def to_program(embedder: ImageEmbedder) -> ExportedProgram:
    """Export the network with its normalisation, for batches of any size.

    Raises:
        UserError: The network has data-dependent control flow or an unsupported operation, or
            turns images that are not square, which are turned before they are resized.
    """
    if embedder.rotations > 1 and embedder.height != embedder.width:
        raise UserError(
            f"embedding.rotations={embedder.rotations}: images of {embedder.height} x "
            f"{embedder.width} cannot be turned after resizing; train with image.height equal to "
            "image.width, or export with embedding.rotations=1"
        )
    # Contiguous memory format: saving a .pt2 warns about others.
    network = copy.deepcopy(embedder.network).cpu()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stub
    example = torch.zeros((2, 3, embedder.height, embedder.width), dtype=torch.uint8)
    try:
        with torch.no_grad():
            program = torch.export.export(
                WithNormalization(network, embedder.rotations, embedder.match == "aligned").eval(),
                (example,),
                dynamic_shapes={"images": {0: Dim("batch")}},
            )
    except Exception as error:  # networks of timm fail with many kinds of exceptions
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"the network cannot be exported: {reason}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains paths of this machine
    return program


def to_pt2(program: ExportedProgram, about: Mapping[str, Any]) -> bytes:
    """Serialise for ``torch.export.load``, with ``about`` as the extra file ``ABOUT``."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(about)})
    return buffer.getvalue()


def to_onnx(program: ExportedProgram, about: Mapping[str, Any]) -> bytes:
    """Serialise as ONNX with weights, and ``about`` as metadata properties of the model."""
    exported = torch.onnx.export(
        program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False
    )
    assert exported is not None
    model = exported.model_proto
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]  # notes of the exporter with paths of this machine
        part.ClearField("doc_string")
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == symbol:
                dimension.dim_param = "batch"
    for key, value in about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    content: bytes = model.SerializeToString()
    return content
