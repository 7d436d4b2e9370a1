"""Market-1501 (Zheng et al., ICCV 2015): 32,217 boxes of 1,501 people from six cameras."""

import os

from dccc_lightning import checks
from dccc_lightning.data.facts import Counts, Facts
from dccc_lightning.data.layout import read_market_layout
from dccc_lightning.data.records import Splits

FOLDERS = ("Market-1501-v15.09.15", "Market-1501", "market1501")
FACTS = Facts(
    train=Counts(12_936, 751),
    query=Counts(3_368, 750),
    gallery=Counts(15_913, 751),
    total=Counts(cameras=6),
)
"""Without the 3,819 junk boxes of bounding_box_test, with the distractors as identity 0."""


class Market1501:
    """Market-1501 as its authors distribute it.

    Args:
        root: the folder Market-1501-v15.09.15, or the folder that contains it.
        name: what the dataset is called in logs and reports.
    """

    facts = FACTS

    def __init__(self, root: str | os.PathLike[str], name: str = "market1501") -> None:
        self.root = checks.path("root", root)
        self.name = name

    def splits(self) -> Splits:
        """Read the three folders.

        Raises:
            UserError: a folder is missing or empty, or file names do not parse.
        """
        return read_market_layout(self.name, self.root, folders=FOLDERS, facts=FACTS)
