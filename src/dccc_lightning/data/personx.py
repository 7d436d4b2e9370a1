"""PersonX (Sun and Zheng, CVPR 2019): 1,266 rendered people before six backgrounds."""

import os

from dccc_lightning import checks
from dccc_lightning.data.facts import Counts, Facts
from dccc_lightning.data.layout import NameRule, read_market_layout
from dccc_lightning.data.records import Splits

FOLDERS = ("PersonX", "personX", "personx", "PersonX_v1")
FACTS = Facts(
    train=Counts(9_840),
    query=Counts(5_136),
    gallery=Counts(30_816),
    total=Counts(identities=1_266, cameras=6),
)
NAMES = NameRule(
    r"(?P<identity>-1|\d+)_c(?P<camera>0*[1-9]\d*)s\d+_\w+",
    "0001_c10s1_000001_00.jpg",
    cameras=(3, 4, 8, 10, 11, 12),
)
"""The names of the cameras are not consecutive."""


class PersonX:
    """PersonX in the Market-1501 layout.

    Args:
        root: the folder PersonX, or the folder that contains it.
        name: what the dataset is called in logs and reports.
    """

    facts = FACTS

    def __init__(self, root: str | os.PathLike[str], name: str = "personx") -> None:
        self.root = checks.path("root", root)
        self.name = name

    def splits(self) -> Splits:
        """Read the three folders.

        Raises:
            UserError: a folder is missing or empty, or file names do not parse.
        """
        return read_market_layout(self.name, self.root, folders=FOLDERS, rule=NAMES, facts=FACTS)
