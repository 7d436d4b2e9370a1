"""DukeMTMC-reID (Ristani et al., 2016; Zheng et al., ICCV 2017), withdrawn by its authors.

Existing copies can be read; nothing is downloaded.
"""

from dccc_lightning.data.datasets.file_names import NameRule
from dccc_lightning.data.datasets.market_layout import MarketLayout
from dccc_lightning.data.datasets.official_counts import Counts, Facts

NAMES = NameRule(r"(?P<identity>-1|\d+)_c(?P<camera>0*[1-9]\d*)_f\d+\w*", "0005_c2_f0046985.jpg")


class DukeMTMC(MarketLayout):
    """DukeMTMC-reID: the Market-1501 layout with different file names."""

    name = "dukemtmc"
    folders = ("DukeMTMC-reID", "dukemtmc")
    rule = NAMES
    facts = Facts(
        train=Counts(16_522, 702),
        query=Counts(2_228, 702),
        gallery=Counts(17_661, 702 + 408),
        total=Counts(cameras=8),
    )
    """The gallery has the test identities and 408 distractors."""
