"""Market-1501 (Zheng et al., ICCV 2015): 32,217 boxes of 1,501 people from six cameras."""

from dccc_lightning.data.datasets.market_layout import MarketLayout
from dccc_lightning.data.datasets.official_counts import Counts, Facts


class Market1501(MarketLayout):
    """Market-1501 as distributed by its authors."""

    name = "market1501"
    folders = ("Market-1501-v15.09.15", "Market-1501", "market1501")
    distractors = (0,)
    facts = Facts(
        train=Counts(12_936, 751),
        query=Counts(3_368, 750),
        gallery=Counts(15_913, 751),
        total=Counts(cameras=6),
    )
    """Counts without the 3,819 junk boxes of bounding_box_test, with distractors as identity 0."""
