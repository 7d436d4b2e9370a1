"""torchreid: ResNets with last stride 2, its embedding layer, and OSNet."""

from dataclasses import replace

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_SOURCE = ("KaiyangZhou/deep-person-reid f8cd150", "2026-01-09")

_FC = (("fc.0.", "embedding.0."), ("fc.1.", "embedding.1."))

OSNET_REWRITES = (
    (r"(conv\d\.\d\.conv2)a\.", r"\1.0.layers.0."),
    (r"(conv\d\.\d\.conv2)b\.", r"\1.1.layers."),
    (r"(conv\d\.\d\.conv2)c\.", r"\1.2.layers."),
    (r"(conv\d\.\d\.conv2)d\.", r"\1.3.layers."),
    (r"(^|\.)conv([23])\.2\.0\.", r"\1pool\2.0."),
)
"""Names of OSNet without AIN as those of AIN."""

OSNET = Dialect(
    "osnet",
    "OSNet",
    *_SOURCE,
    marks=(r"conv1\.conv\.", r"conv2\.0\.conv2(a|\.0)\."),
    rewrites=OSNET_REWRITES,
    renames=_FC,
    layout=Layout(interpolation="bilinear"),
)

TORCHREID = Dialect(
    "torchreid",
    "torchreid",
    *_SOURCE,
    marks=(r"conv1\.weight", r"layer4\.", r"classifier\.weight"),
    without=(r"fc\.",),
    layout=Layout(last_stride=2, interpolation="bilinear"),
)

TORCHREID_FC = replace(
    TORCHREID,
    name="torchreid_fc",
    title="torchreid with an embedding layer",
    marks=(r"conv1\.weight", r"layer4\.", r"fc\.0\.weight", r"fc\.1\.running_mean"),
    without=(),
    renames=_FC,
    layout=Layout(interpolation="bilinear"),  # last stride 1, unlike its other ResNets
)
