"""Networks pretrained without labels: DINO, DINOv2, DINOv3 and MoCo."""

from dataclasses import replace

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_STRIDE = "pretrained with last stride 2, built with 1 unless +model.layout.last_stride=2"

DINO = Dialect(
    "dino",
    "DINO, its teacher",
    "facebookresearch/dino 7c446df, damo-cv/TransReID-SSL fc39e88",
    "2023-04-27",
    marks=(r"(backbone\.)?(cls_token|patch_embed|conv1\.weight)", r"head\.(mlp|last_layer)\."),
    leaves=((r"head\.", "projection head"),),
    offset=0.1,
)

_REGISTERS = r"(backbone\.)?register_tokens"
_BLOCK = r"(backbone\.)?blocks\.0\.(0\.)?"

DINO_V2 = Dialect(
    "dinov2",
    "DINOv2",
    "facebookresearch/dinov2 b8931f7",
    "2025-08-14",
    marks=(rf"{_BLOCK}ls1\.gamma", r"(backbone\.)?mask_token", r"(backbone\.)?pos_embed"),
    without=(_REGISTERS,),
    rewrites=(
        (r"^((?:backbone\.)?blocks)\.\d+\.(\d+)\.", r"\1.\2."),  # chunks of a training
        (r"\.mlp\.w12\.", ".mlp.fc1."),
        (r"\.mlp\.w3\.", ".mlp.fc2."),
    ),
    leaves=(
        (r"(dino|ibot)_head\.", "projection heads"),
        (r"(backbone\.)?mask_token", "mask token"),
    ),
    offset=0.1,
)

DINO_V2_REGISTERS = replace(
    DINO_V2,
    name="dinov2_registers",
    title="DINOv2 with registers",
    marks=(*DINO_V2.marks, _REGISTERS),
    without=(),
    offset=0.0,
)

DINO_V3 = Dialect(
    "dinov3",
    "DINOv3",
    "facebookresearch/dinov3 6876159",
    "2026-07-15",
    marks=(r"(backbone\.)?storage_tokens", r"(backbone\.)?blocks\.0\.ls1\.gamma"),
    rewrites=(
        (r"(^|\.)storage_tokens$", r"\1reg_token"),
        (r"\.ls([12])\.gamma$", r".gamma_\1"),
        (r"\.mlp\.w1\.", ".mlp.fc1_g."),
        (r"\.mlp\.w2\.", ".mlp.fc1_x."),
        (r"\.mlp\.w3\.", ".mlp.fc2."),
    ),
    leaves=(
        (r"(dino|ibot|gram)_head\.", "projection heads"),
        (r"(backbone\.)?mask_token", "mask token"),
        (r"(backbone\.)?local_cls_norm\.", "norm of local crops"),
        (r"(backbone\.)?rope_embed\.periods", "periods of the positions"),
        (r".*\.bias_mask$", "masks of biases"),
    ),
    refuses=((r"(backbone\.)?cls_norm\.", "a norm of its own for the class token"),),
)

DINO_V3_CONVNEXT = Dialect(
    "dinov3_convnext",
    "ConvNeXt of its authors or of DINOv3",
    "facebookresearch/dinov3 6876159",
    "2026-07-15",
    marks=(r"(backbone\.)?downsample_layers\.0\.", r"(backbone\.)?stages\.0\.0\.dwconv\."),
    refuses=((r"(backbone\.)?downsample_layers\.", "ConvNeXt by other names than timm's"),),
)

MOCO_V3 = Dialect(
    "moco_v3",
    "MoCo v3, vision transformer",
    "facebookresearch/moco-v3 c349e6e",
    "2021-11-25",
    marks=(r"base_encoder\.cls_token",),
    takes=("base_encoder.",),
    layout=Layout(heads=12),  # its small one too, unlike that of DINO and timm
    leaves=((r"head\.", "projection head"),),
    refuses=((r"patch_embed\.proj\.\d", "a stem of convolutions"),),
)

MOCO = Dialect(
    "moco",
    "MoCo",
    "facebookresearch/moco 7d22d72, facebookresearch/moco-v3 c349e6e",
    "2021-11-25",
    marks=(r"(encoder_q|base_encoder)\.",),
    takes=("encoder_q.", "base_encoder."),
    leaves=((r"fc\.", "projection head"),),
    note=_STRIDE,
)
