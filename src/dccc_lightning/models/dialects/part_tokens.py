"""PASS: vision transformers with part tokens, pretrained and fine-tuned."""

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_SOURCE = ("CASIA-IVA-Lab/PASS-reID 5b84b42", "2022-07-08")
_BACKBONES = ("vit_small_pass", "vit_base_pass")
_HEADS = ((r"head\.", "projection head"),)

PASS_FINE_TUNED = Dialect(
    "pass_fine_tuned",
    "PASS, fine-tuned",
    *_SOURCE,
    marks=(r"base\.part_token1", r"(bottleneck|classifier)"),
    renames=(("base.", "backbone."),),
    layout=Layout(normalization="half", interpolation="bilinear", neck="before"),
    backbones=_BACKBONES,
    leaves=(
        (r"base\.fc\.", "classifier of ImageNet"),
        (r"bottleneck", "necks, which its embeddings do not pass"),
    ),
    refuses=((r"base\.sie_embed", "camera embeddings (SIE)"),),
)

PASS_USL = Dialect(
    "pass_usl",
    "PASS with Cluster Contrast",
    *_SOURCE,
    marks=(r"part_token1", r"bottleneck"),
    renames=(("bottleneck.", "neck."),),
    layout=Layout(normalization="half"),
    backbones=_BACKBONES,
    refuses=((r"bottleneck_pt\d", "necks of single part tokens"),),
)

PASS = Dialect(
    "pass",
    "PASS, pretrained",
    *_SOURCE,
    marks=(r"(backbone\.)?part_token1",),
    backbones=_BACKBONES,
    leaves=_HEADS,
    refuses=((r"(backbone\.)?patch_embed\.conv\.", "a stem of convolutions (ICS)"),),
)
