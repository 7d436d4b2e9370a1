"""PersonX (Sun and Zheng, CVPR 2019): 1,266 rendered people before six backgrounds."""

from dccc_lightning.data.datasets.file_names import NameRule
from dccc_lightning.data.datasets.market_layout import MarketLayout
from dccc_lightning.data.datasets.official_counts import Counts, Facts

NAMES = NameRule(
    r"(?P<identity>-1|\d+)_c(?P<camera>0*[1-9]\d*)s\d+_\w+",
    "0001_c10s1_000001_00.jpg",
    cameras=(3, 4, 8, 10, 11, 12),
)
"""Camera numbers in file names, which are not consecutive."""


class PersonX(MarketLayout):
    """PersonX in the Market-1501 layout."""

    name = "personx"
    folders = ("PersonX", "personX", "personx", "PersonX_v1")
    rule = NAMES
    facts = Facts(
        train=Counts(9_840),
        query=Counts(5_136),
        gallery=Counts(30_816),
        total=Counts(identities=1_266, cameras=6),
    )
