"""SpCL and Cluster Contrast, PPLR and MMT: ResNets of torchvision as numbered sequences."""

from dataclasses import replace

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_PARTS = (("base.0.", "backbone.conv1."), ("base.1.", "backbone.bn1."))
_NECK = (("feat.", "embedding.0."), ("feat_bn.", "neck."), ("gap.p", "pooling.p"))


def _stages(first: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"base.{first + stage}.", f"backbone.layer{stage + 1}.") for stage in range(4))


CLUSTER_CONTRAST = Dialect(
    "cluster_contrast",
    "SpCL and Cluster Contrast",
    "yxgeee/SpCL 01a486e, alibaba/cluster-contrast-reid 57b62e9",
    "2021-11-25",
    marks=(r"base\.0\.weight", r"base\.[4-7]\.0\.conv1\."),
    renames=(*_PARTS, *_stages(4), *_NECK),
    refuses=((r".*\.BN_[ST]\.", "batch norms of two domains"),),
)

PPLR = replace(
    CLUSTER_CONTRAST,
    name="pplr",
    title="PPLR",
    source="yoonkicho/PPLR 5337193",
    date="2024-02-14",
    marks=(*CLUSTER_CONTRAST.marks, r"bnneck\.", r"bnneck0\."),
    renames=(*_PARTS, *_stages(4), ("bnneck.", "neck.")),
    leaves=((r"(bnneck|classifier)\d", "necks and classifiers of the parts"),),
)

MMT = replace(
    CLUSTER_CONTRAST,
    name="mmt",
    title="MMT",
    source="yxgeee/MMT 057e1ea",
    date="2020-07-01",
    marks=(r"base\.0\.weight", r"base\.3\.0\.conv1\."),
    renames=(*_PARTS, *_stages(3), *_NECK),
    layout=Layout(stem_relu=False),
)
