"""FastReID: BoT, AGW, SBS and OSNet; MGN is refused."""

from dataclasses import replace

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.dialects.torchreid import OSNET_REWRITES
from dccc_lightning.models.layout import PUBLISHED, Layout

_REFUSES = (
    (r"b\d+(_head)?\.", "the branches of MGN"),
    (r"backbone\..*\.se\.", "squeeze-and-excitation"),
)
_RENAMES = (
    ("heads.bottleneck.0.", "neck."),
    ("heads.bnneck.", "neck."),
    ("heads.pool_layer.p", "pooling.p"),
)
_HEADS = r"heads\.(bottleneck|weight|pool_layer)"
_LEAVES = ((r"pixel_(mean|std)$", "ImageNet mean and std of the input"),)

FASTREID = Dialect(
    "fastreid",
    "FastReID 1.x",
    "JDAI-CV/fast-reid c9bc3ce",
    "2024-07-15",
    marks=(r"backbone\.conv1\.weight", _HEADS),
    without=(r"heads\.bnneck\.",),
    renames=_RENAMES,
    # Since 42cadae (2020-11-06), except in its ResNeXts.
    layout=Layout(stem_pool="ceil"),
    grouped_layout=PUBLISHED,
    leaves=_LEAVES,
    refuses=_REFUSES,
    note="SBS was trained at 384 x 128",
)

FASTREID_REDUCED = replace(
    FASTREID,
    name="fastreid_reduced",
    title="FastReID 1.x with an embedding layer",
    marks=(r"backbone\.conv1\.weight", r"heads\.bottleneck\.1\."),
    renames=(
        ("heads.bottleneck.0.", "embedding.0."),
        ("heads.bottleneck.1.", "neck."),
        *_RENAMES,
    ),
)

FASTREID_OSNET = replace(
    FASTREID,
    name="fastreid_osnet",
    title="OSNet of FastReID",
    marks=(r"backbone\.conv1\.conv\.", _HEADS),
    rewrites=OSNET_REWRITES,
    layout=PUBLISHED,
    note="",
)

FASTREID_OTHER = replace(
    FASTREID,
    name="fastreid_other",
    title="FastReID, another backbone",
    marks=(r"backbone\.", r"heads\.(bottleneck\.0|pool_layer)\."),
    refuses=((r"backbone\.", "neither a ResNet nor OSNet as backbone"),),
    note="",
)

FASTREID_MGN = Dialect(
    "fastreid_mgn",
    "FastReID's MGN",
    "JDAI-CV/fast-reid c9bc3ce",
    "2024-07-15",
    marks=(r"b1_head\.", r"b2_head\."),
    refuses=_REFUSES,
)

FASTREID_0 = Dialect(
    "fastreid_0",
    "FastReID 0.1",
    "JDAI-CV/fast-reid v0.1.1 (64861ea)",
    "2020-07-29",
    marks=(r"backbone\.conv1\.", r"heads\.bnneck\."),
    renames=_RENAMES,
    leaves=_LEAVES,
    refuses=(*_REFUSES, (r"heads\.bottleneck\.", "an embedding layer before the neck")),
)
