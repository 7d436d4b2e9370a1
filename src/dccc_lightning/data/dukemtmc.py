"""DukeMTMC-reID (Ristani et al., 2016; Zheng et al., ICCV 2017), withdrawn by its authors.

It is read where somebody has it already; nothing here fetches it.
"""

import os
from pathlib import Path

from dccc_lightning.data.layout import ImageCounts, NameRule, read_market_layout
from dccc_lightning.data.records import Splits

FOLDERS = ("DukeMTMC-reID", "dukemtmc")
COUNTS = ImageCounts(train=16_522, query=2_228, gallery=17_661)
NAMES = NameRule(r"(?P<identity>-1|\d+)_c(?P<camera>0*[1-9]\d*)_f\d+\w*", "0005_c2_f0046985.jpg")


class DukeMTMC:
    """DukeMTMC-reID in the Market-1501 layout, with names of its own.

    Args:
        root: the folder DukeMTMC-reID, or the folder that contains it.
        name: what the dataset is called in logs and reports.
    """

    def __init__(self, root: str | os.PathLike[str], name: str = "dukemtmc") -> None:
        self.root = Path(root)
        self.name = name

    def splits(self) -> Splits:
        """Read the three folders.

        Raises:
            UserError: a folder is missing or empty, or file names do not parse.
        """
        return read_market_layout(self.name, self.root, folders=FOLDERS, rule=NAMES, counts=COUNTS)
