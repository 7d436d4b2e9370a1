"""Market-1501 (Zheng et al., ICCV 2015): 32,217 boxes of 1,501 people from six cameras."""

import os
from pathlib import Path

from dccc_lightning.data.layout import ImageCounts, read_market_layout
from dccc_lightning.data.records import Splits

FOLDERS = ("Market-1501-v15.09.15", "Market-1501", "market1501")
COUNTS = ImageCounts(train=12_936, query=3_368, gallery=15_913)
"""Without the 3,819 junk boxes of bounding_box_test."""


class Market1501:
    """Market-1501 as its authors distribute it.

    Args:
        root: the folder Market-1501-v15.09.15, or the folder that contains it.
        name: what the dataset is called in logs and reports.
    """

    def __init__(self, root: str | os.PathLike[str], name: str = "market1501") -> None:
        self.root = Path(root)
        self.name = name

    def splits(self) -> Splits:
        """Read the three folders.

        Raises:
            UserError: a folder is missing or empty, or file names do not parse.
        """
        return read_market_layout(self.name, self.root, folders=FOLDERS, counts=COUNTS)
