"""TransReID and TransReID-SSL: fine-tuned vision transformers, and their pretraining by DINO."""

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_RENAMES = (("base.", "backbone."), ("bottleneck.", "neck."))
_MARKS = (r"base\.(patch_embed|cls_token)", r"base\.blocks\.0\.", r"(bottleneck|classifier)\.")

TRANSREID_JPM = Dialect(
    "transreid_jpm",
    "TransReID with JPM",
    "damo-cv/TransReID dec5504",
    "2024-04-06",
    marks=(r"base\.blocks\.0\.", r"b1\.0\.", r"b2\.0\."),
    refuses=(
        (r"b1\.0\.", "the last blocks of JPM; base.blocks.11 was never trained"),
        (r"base\.sie_embed", "camera embeddings (SIE)"),
    ),
)

TRANSREID = Dialect(
    "transreid",
    "TransReID and TransReID-SSL, fine-tuned",
    "damo-cv/TransReID dec5504, damo-cv/TransReID-SSL fc39e88",
    "2024-04-06",
    marks=_MARKS,
    renames=_RENAMES,
    layout=Layout(normalization="half", interpolation="bilinear"),
    refuses=(
        (r"base\.sie_embed", "camera embeddings (SIE)"),
        (r"base\.part_token\d", "part tokens (PASS)"),
        (r"fcneck\.", "an embedding layer before the neck"),
    ),
    note="patches that overlap (stride 12) cannot be recognised and are not built",
)

DINO = Dialect(
    "dino",
    "DINO, its teacher",
    "damo-cv/TransReID-SSL fc39e88",
    "2021-12-01",
    marks=(r"(backbone\.)?(cls_token|patch_embed|conv1\.weight)", r"head\.(mlp|last_layer)\."),
    leaves=((r"head\.", "projection head"),),
    refuses=((r"(backbone\.)?part_token\d", "part tokens (PASS)"),),
)
