"""Networks for animals: MegaDescriptor (Swin of timm) and MiewID (EfficientNetV2 of timm)."""

from dataclasses import replace

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

MEGA_DESCRIPTOR = Dialect(
    "mega_descriptor",
    "MegaDescriptor",
    "model card of BVRA/MegaDescriptor-L-384",
    "2023-12-13",
    marks=(r"patch_embed\.proj\.", r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table"),
    layout=Layout(normalization="half", interpolation="bilinear"),
    of_backbone=True,  # its images have the size in the name of the backbone
)

_MIEW_ID = (r"backbone\.", r"pooling\.p", r"bn\.running_mean")
_FC = (r"fc\.", "a layer behind the neck")

MIEW_ID = Dialect(
    "miew_id",
    "MiewID",
    "WildMeOrg/wbia-plugin-miew-id ab83e17",
    "2026-04-08",
    marks=(*_MIEW_ID, r"backbone\.(bn2\.running_mean|layer4\.)"),  # EfficientNets, ResNets
    renames=(("bn.", "neck."),),
    layout=Layout(last_stride=2, interpolation="bilinear"),
    refuses=(_FC,),
    image_size=(440, 440),
)

MIEW_ID_TOKENS = replace(
    MIEW_ID,
    name="miew_id_tokens",
    title="MiewID on a vision transformer",
    marks=(*_MIEW_ID, r"backbone\.cls_token"),
    layout=Layout(interpolation="bilinear"),
    leaves=((r"pooling\.", "pooling, which its class tokens do not pass"),),
    refuses=(_FC, (r"backbone\.(fc_norm|dist_token|rope|reg_token)", "another token than timm's")),
    image_size=None,
)

MIEW_ID_OTHER = replace(
    MIEW_ID,
    name="miew_id_other",
    title="MiewID, another backbone",
    marks=_MIEW_ID,
    refuses=((r"backbone\.", "neither an EfficientNet, a ResNet nor a plain transformer"),),
)
