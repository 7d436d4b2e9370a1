"""Datasets of ``task=evaluate``: ``dataset=``, or several by name in ``datasets=``."""

from dccc_lightning.config.instantiate import Settings
from dccc_lightning.config.named_datasets import dataset_settings
from dccc_lightning.config.preflight import build_tested
from dccc_lightning.data.records import ReIDDataset
from dccc_lightning.errors import UserError
from dccc_lightning.tasks.inputs import skips_unreadable


def chosen_datasets(settings: Settings) -> dict[str, tuple[ReIDDataset, bool]]:
    """Return pairs of dataset and flag to skip unreadable images, by the names of their columns."""
    chosen = settings["datasets"]
    if chosen is None:
        nodes = [settings["dataset"]]
    elif isinstance(chosen, list) and chosen:
        nodes = [dataset_settings(entry) for entry in chosen]
    else:
        raise UserError(f"datasets={chosen}: give a list, such as datasets=[market1501,msmt17]")
    datasets: dict[str, tuple[ReIDDataset, bool]] = {}
    for node in nodes:
        skips = skips_unreadable(node["on_error"])
        if node["name"] in datasets:
            raise UserError(
                f"datasets: two are named {node['name']}; rename one, such as "
                f"{{dataset:{node['name']},name:other}}"
            )
        datasets[node["name"]] = build_tested({**settings, "dataset": node}), skips
    return datasets
