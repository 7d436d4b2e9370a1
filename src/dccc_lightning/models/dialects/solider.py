"""SOLIDER: Swin transformers by mmcv's names, pretrained and fine-tuned."""

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_BACKBONES = ("solider_swin_tiny", "solider_swin_small", "solider_swin_base")
_BLOCK = r"stages\.0\.blocks\.0\.attn\.w_msa\."
_LEAVES = (
    (r"((base|backbone)\.)?norm[012]\.", "norms of the other stages"),
    (r".*\.relative_position_index$", "indices of relative positions"),
)

SOLIDER = Dialect(
    "solider",
    "SOLIDER, pretrained",
    "tinyvision/SOLIDER b8779cc",
    "2023-07-21",
    marks=(rf"(backbone\.)?{_BLOCK}",),
    renames=(("backbone.", ""),),
    backbones=_BACKBONES,
    leaves=(*_LEAVES, (r"head\.", "projection head")),
    note="with the semantic weight 0.2",
)

SOLIDER_FINE_TUNED = Dialect(
    "solider_fine_tuned",
    "SOLIDER, fine-tuned",
    "tinyvision/SOLIDER-REID 8c08e1c",
    "2023-05-04",
    marks=(rf"base\.{_BLOCK}",),
    renames=(("base.", ""), ("bottleneck.", "neck.")),
    layout=Layout(normalization="half", interpolation="bilinear", neck="before"),
    backbones=_BACKBONES,
    leaves=_LEAVES,
    refuses=((r"fcneck\.", "an embedding layer before the neck"),),
    note=SOLIDER.note,
)
