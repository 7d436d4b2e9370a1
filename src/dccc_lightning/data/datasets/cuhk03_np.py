"""CUHK03-NP (Li et al., CVPR 2014; Zhong et al., CVPR 2017): the protocol of 767 / 700 people.

Two variants: boxes drawn by hand (labeled) and found by a detector (detected).
"""

import os
from typing import Literal

from dccc_lightning.common import checks
from dccc_lightning.data.datasets.file_names import (
    NameRule,
    find_dataset_folder,
    read_market_layout,
)
from dccc_lightning.data.datasets.official_counts import Counts, Facts, Unverified
from dccc_lightning.data.records import Splits

FOLDERS = ("cuhk03-np", "CUHK03-NP", "cuhk03_np")
NAMES = NameRule(r"(?P<identity>\d+)_c(?P<camera>0*[1-9]\d*)_\w+", "0003_c1_21.png")
_CAMERAS = Counts(cameras=Unverified(2))
FACTS = {
    "labeled": Facts(Counts(7_368, 767), Counts(1_400, 700), Counts(5_328, 700), _CAMERAS),
    "detected": Facts(Counts(7_365, 767), Counts(1_400, 700), Counts(5_332, 700), _CAMERAS),
}


class CUHK03NP:
    """One of the two variants of CUHK03-NP.

    Args:
        root: Folder cuhk03-np, the folder that contains it, or the folder of the variant.
        variant: "labeled" or "detected".
        name: Name of the dataset in logs and reports.

    Raises:
        ValueError: Unknown variant.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        variant: Literal["labeled", "detected"] = "detected",
        name: str = "cuhk03_np",
    ) -> None:
        self.root = checks.path("root", root)
        self.variant = checks.choice("variant", variant, tuple(FACTS))
        self.facts = FACTS[self.variant]
        self.name = name

    def splits(self) -> Splits:
        """Read the three folders of the variant.

        Raises:
            UserError: A folder is missing or empty, or file names do not parse.
        """
        _, home = find_dataset_folder(self.root, FOLDERS, tuple(FACTS))
        own = self.root.expanduser()
        if own.name == self.variant and own.is_dir():
            home = own.parent
        return read_market_layout(self.name, home / self.variant, rule=NAMES, facts=self.facts)
