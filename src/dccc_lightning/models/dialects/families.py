"""The table of families, in the order in which files are compared with it."""

import difflib
from collections.abc import Collection

from dccc_lightning.models.dialects.animals import (
    MEGA_DESCRIPTOR,
    MIEW_ID,
    MIEW_ID_OTHER,
    MIEW_ID_TOKENS,
)
from dccc_lightning.models.dialects.clip_reid import CLIP_REID, OPENAI_CLIP, PCL_CLIP
from dccc_lightning.models.dialects.cluster_contrast import CLUSTER_CONTRAST, MMT, PPLR
from dccc_lightning.models.dialects.dialect import Dialect
from dccc_lightning.models.dialects.fastreid import (
    FASTREID,
    FASTREID_0,
    FASTREID_MGN,
    FASTREID_OSNET,
    FASTREID_OTHER,
    FASTREID_REDUCED,
)
from dccc_lightning.models.dialects.hugging_face import HUGGING_FACE
from dccc_lightning.models.dialects.imagenet import MOBILE_OF_TORCHVISION, RESNET_OF_IMAGENET
from dccc_lightning.models.dialects.open_metric_learning import (
    OML_CLIP,
    OML_MLP,
    OML_RESNET,
    OML_UNICOM,
)
from dccc_lightning.models.dialects.open_unreid import OPEN_UNREID
from dccc_lightning.models.dialects.part_tokens import PASS, PASS_FINE_TUNED, PASS_USL
from dccc_lightning.models.dialects.self_supervised import (
    DINO,
    DINO_V2,
    DINO_V2_REGISTERS,
    DINO_V3,
    DINO_V3_CONVNEXT,
    MOCO,
    MOCO_V3,
)
from dccc_lightning.models.dialects.several_networks import (
    MOVING_AVERAGE,
    MUTUAL_TEACHING,
    OPEN_UNREID_MEAN,
    OPEN_UNREID_PAIR,
    OWN_CHECKPOINT,
    OWN_WEIGHTS,
    STUDENT_AND_TEACHER,
)
from dccc_lightning.models.dialects.solider import SOLIDER, SOLIDER_FINE_TUNED
from dccc_lightning.models.dialects.strong_baseline import (
    AGW,
    AGW_IBN,
    STRONG_BASELINE,
    STRONG_BASELINE_IBN,
    TRANSREID_RESNET,
    TRANSREID_SSL_RESNET,
)
from dccc_lightning.models.dialects.torchreid import OSNET, TORCHREID, TORCHREID_FC
from dccc_lightning.models.dialects.transreid import (
    TRANSREID,
    TRANSREID_JPM,
    TRANSREID_SSL_USL,
)

SEVERAL = (
    OWN_CHECKPOINT, MUTUAL_TEACHING, OPEN_UNREID_PAIR, OPEN_UNREID_MEAN, MOCO_V3, MOCO,
    STUDENT_AND_TEACHER, MOVING_AVERAGE,
)  # fmt: skip
"""Families whose files hold several networks; the one taken may be of another family."""

BY_NAME_ALONE = (TRANSREID_RESNET, TRANSREID_SSL_RESNET, MEGA_DESCRIPTOR)
"""Families with the names of another; ``model.dialect`` has to name them."""

FAMILIES = (
    OWN_WEIGHTS, HUGGING_FACE, OML_RESNET, OML_MLP, OML_UNICOM, OML_CLIP,
    PASS_FINE_TUNED, PASS_USL, PASS, CLIP_REID, PCL_CLIP, OPENAI_CLIP, SOLIDER,
    SOLIDER_FINE_TUNED, OSNET, MIEW_ID_TOKENS, MIEW_ID, MIEW_ID_OTHER,
    FASTREID_MGN, FASTREID_OSNET, FASTREID_0, FASTREID_REDUCED, FASTREID, FASTREID_OTHER,
    OPEN_UNREID, AGW_IBN, AGW, STRONG_BASELINE_IBN, STRONG_BASELINE, PPLR, MMT, CLUSTER_CONTRAST,
    TRANSREID_JPM, TRANSREID, TRANSREID_SSL_USL, DINO_V3, DINO_V3_CONVNEXT,
    DINO_V2_REGISTERS, DINO_V2, DINO, TORCHREID_FC, TORCHREID,
    RESNET_OF_IMAGENET, MOBILE_OF_TORCHVISION,
)  # fmt: skip

OTHER = Dialect("other", "no known family", "", "", marks=(), of_backbone=True)
"""Row of files that are like none in the table: names and shapes alone."""

DIALECTS = {row.name: row for row in (*FAMILIES, *BY_NAME_ALONE)}


def check_dialect(name: str) -> None:
    """Check a value of ``model.dialect``.

    Raises:
        ValueError: It is unknown.
    """
    if name in ("auto", "none", *DIALECTS):
        return
    known = {word.lower(): row.name for row in DIALECTS.values() for word in _names(row)}
    near = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.0)
    raise ValueError(
        f"dialect {name!r} is unknown; the nearest are "
        f"{', '.join(dict.fromkeys(known[word] for word in near))}; auto recognises the file, none "
        "matches names and shapes only"
    )


def _names(row: Dialect) -> tuple[str, ...]:
    """Return a row's name and the proper names in its title."""
    return (*(word for word in row.title.split() if not word.islower()), row.name)


def recognize(names: Collection[str], among: tuple[Dialect, ...] = FAMILIES) -> Dialect:
    """Return the family of tensors of these names.

    >>> recognize(["base.conv1.weight", "base.layer4.0.bn1.bias", "bottleneck.bias"]).title
    'strong baseline'
    >>> recognize(["a.weight"]).title
    'no known family'
    """
    return next((row for row in among if row.recognizes(names)), OTHER)
