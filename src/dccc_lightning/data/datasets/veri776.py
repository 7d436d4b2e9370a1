"""VeRi-776 (Liu et al., ECCV 2016): 776 vehicles under twenty cameras of a city's streets."""

from dccc_lightning.data.datasets.file_names import NameRule
from dccc_lightning.data.datasets.market_layout import MarketLayout
from dccc_lightning.data.datasets.official_counts import Counts, Facts, Unverified

NAMES = NameRule(r"(?P<identity>\d+)_c(?P<camera>0*[1-9]\d*)_\w+", "0002_c002_00030600_0.jpg")
PARTS = ("image_train", "image_query", "image_test")


class VeRi776(MarketLayout):
    """VeRi-776 as distributed by its authors."""

    name = "veri776"
    folders = ("VeRi", "VeRi-776", "VeRi776", "veri776", "veri")
    parts = PARTS
    rule = NAMES
    facts = Facts(
        train=Counts(Unverified(37_778), 576),
        query=Counts(1_678, 200),
        gallery=Counts(11_579, 200),
        total=Counts(cameras=20),
        gallery_holds_queries=True,
    )
    """image_test also contains the query images; the same-camera filter removes them."""
