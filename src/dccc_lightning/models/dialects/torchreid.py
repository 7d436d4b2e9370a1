"""torchreid: ResNets with last stride 2; the 512-d layer of fc512 and OSNet are refused."""

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_SOURCE = ("KaiyangZhou/deep-person-reid f8cd150", "2026-01-09")

OSNET = Dialect(
    "osnet",
    "OSNet",
    *_SOURCE,
    marks=(r"conv1\.conv\.", r"conv2\.0\.conv1\."),
    refuses=((r"conv2\.0\.conv1\.", "OSNet, an architecture that is not built here"),),
)

TORCHREID_FC = Dialect(
    "torchreid_fc",
    "torchreid with an embedding layer",
    *_SOURCE,
    marks=(r"conv1\.weight", r"layer4\.", r"fc\.0\.weight", r"fc\.1\.running_mean"),
    refuses=((r"fc\.0\.", "an embedding layer after the pooling, as resnet50_fc512 has it"),),
)

TORCHREID = Dialect(
    "torchreid",
    "torchreid",
    *_SOURCE,
    marks=(r"conv1\.weight", r"layer4\.", r"classifier\.weight"),
    without=(r"fc\.",),
    layout=Layout(last_stride=2),
)
