"""Families whose architecture is not built here: refused by name."""

from dccc_lightning.models.dialects.dialect import Dialect

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
