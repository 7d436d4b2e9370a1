"""VeRi-776 (Liu et al., ECCV 2016): 776 vehicles under twenty cameras of a city's streets."""

import os

from dccc_lightning import checks
from dccc_lightning.data.facts import Counts, Facts, Unverified
from dccc_lightning.data.layout import NameRule, read_market_layout
from dccc_lightning.data.records import Splits

FOLDERS = ("VeRi", "VeRi-776", "VeRi776", "veri776", "veri")
PARTS = ("image_train", "image_query", "image_test")
FACTS = Facts(
    train=Counts(Unverified(37_778), 576),
    query=Counts(1_678, 200),
    gallery=Counts(11_579, 200),
    total=Counts(cameras=20),
    gallery_holds_queries=True,
)
"""image_test holds the query images too; the same-camera filter takes them out of each ranking."""

NAMES = NameRule(r"(?P<identity>\d+)_c(?P<camera>0*[1-9]\d*)_\w+", "0002_c002_00030600_0.jpg")


class VeRi776:
    """VeRi-776 as its authors distribute it.

    Args:
        root: the folder VeRi, or the folder that contains it.
        name: what the dataset is called in logs and reports.
    """

    facts = FACTS

    def __init__(self, root: str | os.PathLike[str], name: str = "veri776") -> None:
        self.root = checks.path("root", root)
        self.name = name

    def splits(self) -> Splits:
        """Read the three folders.

        Raises:
            UserError: a folder is missing or empty, or file names do not parse.
        """
        return read_market_layout(
            self.name, self.root, folders=FOLDERS, parts=PARTS, rule=NAMES, facts=FACTS
        )
