"""Occluded-Duke (Miao et al., ICCV 2019): DukeMTMC-reID split anew, with occluded queries.

Its images are DukeMTMC's, which was withdrawn by its authors: nothing here fetches them.
"""

import os

from dccc_lightning import checks
from dccc_lightning.data.dukemtmc import NAMES
from dccc_lightning.data.facts import Counts, Facts, Unverified
from dccc_lightning.data.layout import read_market_layout
from dccc_lightning.data.records import Splits

FOLDERS = ("Occluded_Duke", "Occluded-DukeMTMC-Dataset", "Occluded-Duke", "occluded_duke")
FACTS = Facts(
    train=Counts(Unverified(15_618), Unverified(702)),
    query=Counts(Unverified(2_210), Unverified(519)),
    gallery=Counts(Unverified(17_661), Unverified(1_110)),
    total=Counts(cameras=Unverified(8)),
)


class OccludedDuke:
    """Occluded-Duke in the layout and with the names of DukeMTMC-reID.

    Args:
        root: the folder Occluded_Duke, or the folder that contains it.
        name: what the dataset is called in logs and reports.
    """

    facts = FACTS

    def __init__(self, root: str | os.PathLike[str], name: str = "occluded_duke") -> None:
        self.root = checks.path("root", root)
        self.name = name

    def splits(self) -> Splits:
        """Read the three folders.

        Raises:
            UserError: a folder is missing or empty, or file names do not parse.
        """
        return read_market_layout(self.name, self.root, folders=FOLDERS, rule=NAMES, facts=FACTS)
