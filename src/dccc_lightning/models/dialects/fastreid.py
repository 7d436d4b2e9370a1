"""FastReID: BoT and what is left of SBS without non-local blocks; AGW and MGN are refused."""

from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.layout import Layout

_REFUSES = (
    (r"backbone\.NL_\d", "non-local blocks, as AGW and SBS have them"),
    (r"b\d+(_head)?\.", "the branches of MGN"),
    (r"backbone\..*\.se\.", "squeeze-and-excitation"),
)
_RENAMES = (
    ("heads.bottleneck.0.", "neck."),
    ("heads.bnneck.", "neck."),
    ("heads.pool_layer.p", "pooling.p"),
)
_LEAVES = ((r"pixel_(mean|std)$", "ImageNet mean and std of the input"),)

FASTREID = Dialect(
    "fastreid",
    "FastReID 1.x",
    "JDAI-CV/fast-reid c9bc3ce",
    "2024-07-15",
    marks=(r"backbone\.conv1\.", r"heads\.(bottleneck|weight|pool_layer)"),
    without=(r"heads\.bnneck\.",),
    renames=_RENAMES,
    # Since 42cadae (2020-11-06).
    layout=Layout(stem_pool="ceil"),
    leaves=_LEAVES,
    refuses=(
        *_REFUSES,
        (r"heads\.bottleneck\.1\.", "an embedding layer before the neck"),
    ),
    note="SBS was trained at 384 x 128",
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
