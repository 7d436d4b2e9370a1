"""Datasets of ``task=evaluate``: ``dataset=``, or several by name in ``datasets=``."""

from collections.abc import Mapping
from typing import Any, cast

from hydra import compose
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dccc_lightning.config.instantiate import Settings, construct, first_line
from dccc_lightning.data.records import ReIDDataset
from dccc_lightning.errors import UserError
from dccc_lightning.tasks.inputs import skips_unreadable


def chosen_datasets(settings: Settings) -> dict[str, tuple[ReIDDataset, bool]]:
    """Return pairs of dataset and flag to skip unreadable images, by the names of their columns."""
    chosen = settings["datasets"]
    if chosen is None:
        nodes = [settings["dataset"]]
    elif isinstance(chosen, list) and chosen:
        nodes = [_composed(entry) for entry in chosen]
    else:
        raise UserError(f"datasets={chosen}: give a list, such as datasets=[market1501,msmt17]")
    datasets: dict[str, tuple[ReIDDataset, bool]] = {}
    for node in nodes:
        arguments = dict(node)
        skips = skips_unreadable(arguments.pop("on_error"))
        del arguments["cache"]
        if node["name"] in datasets:
            raise UserError(
                f"datasets: two are named {node['name']}; rename one, such as "
                f"{{dataset:{node['name']},name:other}}"
            )
        datasets[node["name"]] = construct("dataset", arguments), skips
    return datasets


def _composed(entry: Any) -> Mapping[str, Any]:
    """Compose the settings of a dataset, given by name or as a mapping with overrides."""
    changes = dict(entry) if isinstance(entry, Mapping) else {"dataset": entry}
    name = changes.pop("dataset", None)
    if not isinstance(name, str):
        raise UserError(
            f"datasets: {entry} does not name a dataset; write {{dataset:folder,root:A}}"
        )
    try:
        node = compose("train", overrides=[f"dataset={name}"]).dataset
        if strange := [key for key in changes if key not in node]:
            valid = ", ".join(sorted(key for key in map(str, node) if key != "_target_"))
            raise UserError(f"datasets: {name} has no setting {strange[0]}; valid: {valid}")
        node = OmegaConf.merge(node, changes)
        settings = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except MissingConfigException as error:
        options = ", ".join(error.options or ())
        raise UserError(f"datasets: no dataset {name}; valid: {options}") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"datasets: {name}: {first_line(error)}") from error
    return cast(dict[str, Any], settings)
