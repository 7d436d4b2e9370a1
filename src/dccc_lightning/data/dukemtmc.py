"""DukeMTMC-reID (Ristani et al., 2016; Zheng et al., ICCV 2017), withdrawn by its authors.

It is read where somebody has it already; nothing here fetches it.
"""

import os

from dccc_lightning import checks
from dccc_lightning.data.facts import Counts, Facts
from dccc_lightning.data.layout import NameRule, read_market_layout
from dccc_lightning.data.records import Splits

FOLDERS = ("DukeMTMC-reID", "dukemtmc")
FACTS = Facts(
    train=Counts(16_522, 702),
    query=Counts(2_228, 702),
    gallery=Counts(17_661, 702 + 408),
    total=Counts(cameras=8),
)
"""The gallery has the test identities and 408 others that serve as distractors."""

NAMES = NameRule(r"(?P<identity>-1|\d+)_c(?P<camera>0*[1-9]\d*)_f\d+\w*", "0005_c2_f0046985.jpg")


class DukeMTMC:
    """DukeMTMC-reID in the Market-1501 layout, with names of its own.

    Args:
        root: the folder DukeMTMC-reID, or the folder that contains it.
        name: what the dataset is called in logs and reports.
    """

    facts = FACTS

    def __init__(self, root: str | os.PathLike[str], name: str = "dukemtmc") -> None:
        self.root = checks.path("root", root)
        self.name = name

    def splits(self) -> Splits:
        """Read the three folders.

        Raises:
            UserError: a folder is missing or empty, or file names do not parse.
        """
        return read_market_layout(self.name, self.root, folders=FOLDERS, rule=NAMES, facts=FACTS)
