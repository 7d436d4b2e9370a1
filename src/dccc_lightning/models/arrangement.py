"""Parts of an embedder that the tensors of a file require."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dccc_lightning.models.layout import Layout
from dccc_lightning.models.network import Embedder

_BLOCK = re.compile(r"(?:embedder\.)?(?:backbone\.)?NL_([1-4])\.(\d+)\.g\.weight$")
_EMBEDDING = "embedding.0.weight"

_STRIDES = (16, 12, 11)
"""Distances of patches in published transformers, the most frequent first."""


@dataclass(frozen=True)
class Arrangement:
    """Arguments of ``Embedder.arrange``.

    Attributes:
        layout: Options of the network.
        gem: Change the pooling to GeM.
        embedding_dim: Size of the embedding layer, 0 for none, or None to keep the present one.
    """

    layout: Layout
    gem: bool
    embedding_dim: int | None


def arrangement(
    tensors: Mapping[str, Tensor],
    layout: Layout,
    embedder: Embedder,
    chosen: Mapping[str, Any] | None = None,
    overlaps: bool = False,
) -> Arrangement:
    """Return the parts to build for the tensors of a file.

    Args:
        tensors: By this package's names.
        layout: Options of the file's family.
        embedder: Embedder to be changed; its own options are kept.
        chosen: Options that override all others, also by a default.
        overlaps: Patches may overlap, which the number of position embeddings tells.
    """
    held = {name.removeprefix("embedder."): value for name, value in tensors.items()}
    found: dict[str, object] = {}
    if counts := Counter(match[1] for name in held if (match := _BLOCK.match(name))):
        found["non_local"] = tuple(counts[str(stage)] for stage in range(1, 5))
    if overlaps and "patch_stride" in getattr(embedder.backbone, "options", ()):
        found |= _overlap(held, embedder.backbone)
    size = None
    if (weight := held.get(_EMBEDDING)) is not None:
        size = len(weight)
        found["embedding"] = "linear" if "embedding.0.bias" in held else "unbiased"
        if "embedding.1.running_mean" in held:
            found["embedding"] = "fc"
    elif "neck.weight" in held and not isinstance(embedder.embedding, nn.Identity):
        size = 0  # it would lie before the file's neck
    if embedder.architecture.get("embedding_dim") not in (None, size):  # the user's own
        size = None
        found.pop("embedding", None)
    shown = {name: found[name] for name in ("embedding", "non_local") if name in found}
    options = layout.options() | found | embedder.layout.options() | shown | dict(chosen or {})
    maps = getattr(embedder.backbone, "ends_in_map", True)
    return Arrangement(Layout.of(options), maps and "pooling.p" in held, size)


def _overlap(tensors: Mapping[str, Tensor], backbone: Any) -> dict[str, int]:
    """Return the distance of patches that gives a file's number of position embeddings."""
    embedding = next((v for name, v in tensors.items() if name.endswith("pos_embed")), None)
    if embedding is None or embedding.dim() != 3:
        return {}
    fitting = [n for n in _STRIDES if backbone.grid(n).count == embedding.shape[1]]
    return {"patch_stride": fitting[0]} if fitting else {}
