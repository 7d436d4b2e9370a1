"""OpenUnReID: a ResNet by torchvision's names with a head of its own."""

from dccc_lightning.models.dialects.dialect import Dialect

OPEN_UNREID = Dialect(
    "open_unreid",
    "OpenUnReID",
    "open-mmlab/OpenUnReID c3e3ada",
    "2021-06-14",
    marks=(r"backbone\.conv1\.", r"head\.feat_bn\."),
    renames=(
        ("head.feat_reduction.", "embedding.0."),
        ("head.feat_bn.", "neck."),
        ("global_pooling.p", "pooling.p"),
    ),
    refuses=((r".*\.dsbn\.", "batch norms of several domains"),),
)
