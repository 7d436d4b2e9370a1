"""Families whose architecture is not built here: refused by name."""

from dccc_lightning.models.dialects.dialect import Dialect

PASS = Dialect(
    "pass",
    "PASS",
    "CASIA-IVA-Lab/PASS-reID 5b84b42",
    "2022-07-08",
    marks=(r"(base\.|backbone\.)?part_token1",),
    refuses=((r"(base\.|backbone\.)?part_token1", "part tokens"),),
)

CLIP_REID = Dialect(
    "clip_reid",
    "CLIP-ReID",
    "Syliz517/CLIP-ReID eb1898b",
    "2023-11-21",
    marks=(r"image_encoder\.",),
    refuses=((r"image_encoder\.", "CLIP's image encoder with two necks"),),
)

SOLIDER = Dialect(
    "solider",
    "SOLIDER",
    "tinyvision/SOLIDER 8c08e1c",
    "",
    marks=(r"(base\.|backbone\.)?(semantic_embed|stages\.0\.blocks\.0\.attn\.w_msa\.)",),
    refuses=(
        (r"(base\.|backbone\.)?(semantic_embed|stages\.0)", "a Swin transformer by mmcv's names"),
    ),
)
