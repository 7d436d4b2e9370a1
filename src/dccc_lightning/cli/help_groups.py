"""Groups of options in the text of ``--help``."""

import sys
from functools import lru_cache

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

INNER = ("hydra", "dataset/base", "sweep/study")
"""Groups that are left out: bases of other options, and the grids of one study."""


def register() -> None:
    """Register the resolver that ``conf/hydra/help/dccc.yaml`` lists the groups with."""
    OmegaConf.register_new_resolver("option_groups", option_groups, replace=True)


def option_groups() -> str:
    """Return a line for each group that an option can be chosen from, those of the user too.

    OmegaConf asks for it in every merge, so it is looked up once, and for help only.
    """
    hydra = GlobalHydra.instance().hydra
    if hydra is None or not any(word.startswith(("-h", "--h")) for word in sys.argv[1:]):
        return ""
    return _listed(hydra)


@lru_cache(maxsize=1)
def _listed(hydra: Hydra) -> str:
    text: str = hydra.format_config_groups(lambda group: not group.startswith(INNER))
    return text
