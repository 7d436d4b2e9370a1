"""The strong baseline (BoT), AGW, and ResNets with the same names."""

from dataclasses import replace

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_RENAMES = (("base.", "backbone."), ("bottleneck.", "neck."), ("global_pool.p", "pooling.p"))

STRONG_BASELINE = Dialect(
    "strong_baseline",
    "strong baseline",
    "michuanhaohao/reid-strong-baseline 3da7e6f",
    "2020-04-23",
    marks=(r"base\.conv1\.", r"base\.layer4\.", r"(bottleneck|classifier)\."),
    renames=_RENAMES,
    layout=Layout(stem_relu=False, interpolation="bilinear"),
    refuses=((r"base\.layer1\.0\.se_module\.", "squeeze-and-excitation"),),
    note="the ResNets of TransReID and TransReID-SSL have the same names: "
    "model.dialect=transreid_resnet or transreid_ssl_resnet",
)

STRONG_BASELINE_IBN = replace(
    STRONG_BASELINE,
    name="strong_baseline_ibn",
    title="strong baseline with IBN-a",
    marks=(r"base\.layer1\.0\.bn1\.IN\.", r"base\.layer4\.", r"(bottleneck|classifier)\."),
    layout=Layout(interpolation="bilinear"),
    note="",
)

AGW = replace(
    STRONG_BASELINE,
    name="agw",
    title="AGW (ReID-Survey)",
    source="mangye16/ReID-Survey 38f5912",
    date="2025-02-17",
    marks=(r"base\.(NL_\d|conv1\.)", r"(base\.NL_\d|global_pool\.p)"),
    note="",
)

AGW_IBN = replace(
    AGW,
    name="agw_ibn",
    title="AGW (ReID-Survey) with IBN-a",
    marks=(r"base\.layer1\.0\.bn1\.IN\.", r"global_pool\.p"),
    layout=Layout(interpolation="bilinear"),
)

TRANSREID_RESNET = replace(
    STRONG_BASELINE,
    name="transreid_resnet",
    title="ResNet of TransReID",
    source="damo-cv/TransReID dec5504",
    date="2024-04-06",
    layout=Layout(stem_pool="2x2", stem_relu=False, interpolation="bilinear"),
    note="",
)

TRANSREID_SSL_RESNET = replace(
    TRANSREID_RESNET,
    name="transreid_ssl_resnet",
    title="ResNet of TransReID-SSL",
    source="damo-cv/TransReID-SSL fc39e88",
    date="2021-12-01",
    layout=Layout(stem_pool="2x2", interpolation="bilinear"),
)
