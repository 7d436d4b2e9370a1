"""TransReID and TransReID-SSL: fine-tuned vision transformers."""

from dataclasses import replace

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_SIE = "camera embeddings (SIE), which other cameras do not have"
_MARKS = (r"base\.(patch_embed|cls_token)", r"base\.blocks\.0\.", r"(bottleneck|classifier)\.")

TRANSREID = Dialect(
    "transreid",
    "TransReID and TransReID-SSL, fine-tuned",
    "damo-cv/TransReID dec5504, damo-cv/TransReID-SSL fc39e88",
    "2024-04-06",
    marks=_MARKS,
    renames=(("base.", "backbone."), ("bottleneck.", "neck.")),
    layout=Layout(normalization="half", interpolation="bilinear", neck="before"),
    refuses=(
        (r"base\.sie_embed", _SIE),
        (r"fcneck\.", "an embedding layer before the neck"),
    ),
    overlaps=True,
)

TRANSREID_JPM = replace(
    TRANSREID,
    name="transreid_jpm",
    title="TransReID with JPM",
    source="damo-cv/TransReID dec5504",
    marks=(r"base\.blocks\.0\.", r"b1\.0\.", r"b2\.0\."),
    renames=(
        ("base.", "backbone."),
        ("b1.", "backbone.b1."),
        ("b2.", "backbone.b2."),
        ("bottleneck.", "neck."),
        ("bottleneck_", "neck_"),
    ),
    leaves=((r"base\.(blocks\.11|norm)\.", "a last block that JPM does not train"),),
    backbones=("vit_base_jpm",),
)

TRANSREID_SSL_USL = Dialect(
    "transreid_ssl_usl",
    "TransReID-SSL with Cluster Contrast",
    "damo-cv/TransReID-SSL fc39e88",
    "2021-12-01",
    marks=(r"cls_token", r"blocks\.0\.", r"bottleneck\."),
    renames=(("bottleneck.", "neck."),),
    layout=Layout(normalization="half"),
)
