"""Groups of options in the text of ``--help``."""

from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

INNER = ("hydra", "dataset/base", "sweep/study")
"""Groups that are left out: bases of other options, and the grids of one study."""


def register() -> None:
    """Register the resolver that ``conf/hydra/help/dccc.yaml`` lists the groups with."""
    OmegaConf.register_new_resolver("option_groups", option_groups, replace=True)


def option_groups() -> str:
    """Return a line for each group that an option can be chosen from, those of the user too."""
    hydra = GlobalHydra.instance().hydra
    if hydra is None:  # outside of Hydra, such as when a saved configuration is read
        return ""
    text: str = hydra.format_config_groups(lambda group: not group.startswith(INNER))
    return text
