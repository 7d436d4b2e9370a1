"""Transformers by the names of Hugging Face's library, which are refused."""

from dccc_lightning.models.dialects.dialect import Dialect

_PARTS = "other names than the authors' or timm's for the same network"

HUGGING_FACE = Dialect(
    "hugging_face",
    "Hugging Face transformers",
    "huggingface/transformers",
    "",
    marks=(
        r"(\w+\.)?embeddings\.(cls_token|class_embedding|patch_embed)",
        r"(\w+\.)?((encoder|model)\.)?layers?\.0\.",
    ),
    refuses=((r"(\w+\.)?embeddings\.", _PARTS),),
    remedy="choose the file of either",
)
