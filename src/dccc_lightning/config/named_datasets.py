"""Settings of datasets by name, as options of the config group ``dataset``."""

from collections.abc import Mapping
from typing import Any, cast

from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dccc_lightning.config.compositions import composed
from dccc_lightning.config.instantiate import first_line
from dccc_lightning.errors import UserError


def dataset_settings(entry: Any, place: str = "datasets") -> Mapping[str, Any]:
    """Compose the settings of a dataset, given by name or as a mapping with overrides.

    Args:
        entry: Name, or ``{dataset: NAME, ...}`` with settings of it.
        place: Setting that holds the entry, the start of each message.

    Raises:
        UserError: The entry names no dataset, or a setting that the dataset does not have.
    """
    changes = dict(entry) if isinstance(entry, Mapping) else {"dataset": entry}
    name = changes.pop("dataset", None)
    if not isinstance(name, str):
        raise UserError(
            f"{place}: {entry} does not name a dataset; write {{dataset:folder,root:A}}"
        )
    try:
        node = composed([f"dataset={name}"]).dataset
        if strange := [key for key in changes if key not in node]:
            valid = ", ".join(sorted(key for key in map(str, node) if key != "_target_"))
            raise UserError(f"{place}: {name} has no setting {strange[0]}; valid: {valid}")
        node = OmegaConf.merge(node, changes)
        settings = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except MissingConfigException as error:
        options = ", ".join(error.options or ())
        raise UserError(f"{place}: no dataset {name}; valid: {options}") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{place}: {name}: {first_line(error)}") from error
    return cast(dict[str, Any], settings)
