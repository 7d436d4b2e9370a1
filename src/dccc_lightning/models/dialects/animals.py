"""Networks for animals: MegaDescriptor (Swin of timm) and MiewID (EfficientNetV2 of timm)."""

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

MEGA_DESCRIPTOR = Dialect(
    "mega_descriptor",
    "MegaDescriptor",
    "model card of BVRA/MegaDescriptor-L-384",
    "2023-12-13",
    marks=(r"patch_embed\.proj\.", r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table"),
    layout=Layout(normalization="half", interpolation="bilinear"),
    note="the file does not tell the size of its images: set image.height and image.width",
)

MIEW_ID = Dialect(
    "miew_id",
    "MiewID",
    "WildMeOrg/wbia-plugin-miew-id ab83e17",
    "2026-04-08",
    marks=(r"backbone\.conv_stem\.", r"pooling\.p", r"bn\.running_mean"),
    refuses=((r"backbone\.conv_stem\.", "timm's EfficientNetV2 with a last map at 1 / 32"),),
)
