"""Occluded-Duke (Miao et al., ICCV 2019): new splits of DukeMTMC-reID with occluded queries.

DukeMTMC was withdrawn by its authors. Existing copies can be read; nothing is downloaded.
"""

from dccc_lightning.data.datasets.dukemtmc import NAMES
from dccc_lightning.data.datasets.market_layout import MarketLayout
from dccc_lightning.data.datasets.official_counts import Counts, Facts, Unverified


class OccludedDuke(MarketLayout):
    """Occluded-Duke, with the layout and file names of DukeMTMC-reID."""

    name = "occluded_duke"
    folders = ("Occluded_Duke", "Occluded-DukeMTMC-Dataset", "Occluded-Duke", "occluded_duke")
    rule = NAMES
    facts = Facts(
        train=Counts(Unverified(15_618), Unverified(702)),
        query=Counts(Unverified(2_210), Unverified(519)),
        gallery=Counts(Unverified(17_661), Unverified(1_110)),
        total=Counts(cameras=Unverified(8)),
    )
