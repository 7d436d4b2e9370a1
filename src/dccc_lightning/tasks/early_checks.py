"""Checks of the settings of tasks that embed images, before torch is imported.

The command line calls these functions before it imports a task. They raise the errors that the task
would raise later, mostly by the same functions.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dccc_lightning.common import callback_ranges, checks, ranges
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.config.preflight import (
    build_dataset,
    check_clustering,
    check_dataset,
    check_network,
)
from dccc_lightning.errors import UserError
from dccc_lightning.gallery.gallery_table import GalleryTable
from dccc_lightning.gallery.manifest import file_names, is_gallery, read_manifest
from dccc_lightning.inference.checkpoint_files import find_checkpoint
from dccc_lightning.tasks.evaluated_datasets import chosen_datasets
from dccc_lightning.tasks.identify_rule import rule_of
from dccc_lightning.tasks.inputs import SPLITS, batch_size_of, check_checkpoint, path_of, threads_of

LABELS = ("identities", "pseudo")
_EMBEDDED = "embeddings.json"
"""File in an output folder of ``task=embed``, which can replace images as an input."""

MAPPED = ("map/images.parquet", "identities.json", _EMBEDDED)
"""Files of folders that ``task=map`` reads: a training, identities, embeddings."""


def check_index(settings: Settings) -> None:
    """Check ``task=index``.

    Raises:
        UserError: One line with the setting.
    """
    adds, removes = settings["add"] is not None, settings["remove"] is not None
    changes = adds or removes
    if changes == (settings["input"] is not None):
        raise UserError("give either input= to build a gallery, or add= and remove= to change it")
    if changes and settings["index"] is None:
        raise UserError("index= is needed: the folder of the gallery to change")
    folder = None if settings["index"] is None else path_of(settings, "index")
    if changes and folder is not None:
        table = read_table(folder)
        if removes and table is not None:
            removed_ids(table, settings["remove"])
    elif folder is not None and is_gallery(folder) and settings["replace"] is not True:
        raise UserError(
            f"{folder}: already a gallery; add= and remove= change it, replace=true rebuilds it"
        )
    if adds or not changes:
        _check_images(settings, "add" if adds else "input")


def check_search(settings: Settings) -> tuple[int, int, int]:
    """Check ``task=search``, and return ``k`` and the numbers of queries and hits of the board.

    Raises:
        UserError: One line with the setting.
    """
    needed = {"index": "the folder of a gallery", "query": "an image, a folder or a list of images"}
    for key, what in needed.items():
        if settings[key] is None:
            raise UserError(f"{key}= is needed: {what}")
    board = settings["board"]
    if not isinstance(board, Mapping):
        raise UserError(f"board={board}: is a section; set board.queries=0 for no board")
    limits = checked(
        "settings",
        lambda: (
            checks.integer("k", settings["k"], 1),
            checks.integer("board.queries", board["queries"], 0),
            checks.integer("board.hits", board["hits"], 1),
        ),
    )
    check_checkpoint(settings)
    read_manifest(path_of(settings, "index"))
    check_places(settings, "query")
    return limits


def check_calibrate(settings: Settings) -> None:
    """Check ``task=calibrate``.

    Raises:
        UserError: One line with the setting.
    """
    kind = checked("settings", lambda: checks.choice("labels", settings["labels"], LABELS))
    if (settings["index"] is None) == (settings["input"] is None):
        raise UserError("give either index= (a gallery) or input= (images to embed with ckpt=)")
    if kind == "pseudo":
        check_clustering(settings)
    if settings["index"] is not None:
        read_manifest(path_of(settings, "index"))
    else:
        _check_images(settings, "input")


def check_identify(settings: Settings) -> None:
    """Check ``task=identify``.

    Raises:
        UserError: One line with the setting.
    """
    given, index = settings["input"] is not None, settings["index"] is not None
    if given and index:
        raise UserError("give either input= (images) or index= (a gallery), not both")
    known = settings["known"]
    if not (given or index or known is not None):
        raise UserError("input= is needed: a folder of images; or index=, or known=")
    if settings["remove"] is not None and known is None:
        raise UserError("remove= leaves out images of earlier identities: known= is needed")
    if settings["table"] is not None and not (given or index):
        raise UserError("table= labels the images of input= or index=; known images keep theirs")
    for key in ("folders", "keep_decisions", "cut_tracklets"):
        checked("settings", partial(checks.boolean, key, settings[key]))
    rule_of(settings)
    for key in ("known", "table", "decisions"):
        if settings[key] is not None and not path_of(settings, key).exists():
            raise UserError(f"{key}={settings[key]}: no such file or folder")
    if index:
        read_manifest(path_of(settings, "index"))
    elif given:
        _check_images(settings, "input")


def check_map(settings: Settings) -> None:
    """Check ``task=map``.

    Raises:
        UserError: One line with the setting.
    """
    if settings["input"] is None:
        raise UserError(
            "input= is needed: the folder of a training, of task=embed or task=identify"
        )
    if settings["images"] is not None:
        checked("settings", lambda: checks.integer("images", settings["images"], 1))
    folder = path_of(settings, "input")
    if not folder.is_dir():
        raise UserError(f"input={folder}: no such folder")
    if not any((folder / name).is_file() for name in MAPPED):
        raise UserError(
            f"input={folder}: no training with a map, and no output of task=embed or "
            "task=identify; of images, task=embed ckpt= makes one"
        )


def check_evaluate(settings: Settings) -> None:
    """Check the protocol, the networks and the datasets of ``task=evaluate``.

    Raises:
        UserError: One line with the setting.
    """
    check_protocol(settings)
    paths = checkpoints_of(settings)
    if not paths:
        check_network(settings)
    for path in paths:
        if path != "bundled":
            find_checkpoint(Path(path).expanduser())
    for dataset, _ in chosen_datasets(settings).values():
        check_dataset(dataset)


def checkpoints_of(settings: Settings) -> list[str]:
    """Return the checkpoints of ``ckpt``; empty if it is null.

    Raises:
        UserError: The list is empty, or has a checkpoint twice.
    """
    chosen = settings["ckpt"]
    if chosen is None:
        return []
    paths = [str(path) for path in (chosen if isinstance(chosen, list) else [chosen])]
    if not paths or len(set(paths)) < len(paths):
        raise UserError(f"ckpt={chosen}: give one checkpoint or several, each once")
    return paths


def check_protocol(settings: Settings) -> None:
    """Check the evaluation protocol of ``task=evaluate``.

    Raises:
        UserError: One line with the setting.
    """

    def check() -> None:
        checks.boolean("flip", settings["flip"])
        if not isinstance(settings["rerank"], bool) and settings["rerank"] != "ca_jaccard":
            raise ValueError(
                f"rerank must be true, false or ca_jaccard, got {settings['rerank']!r}"
            )
        callback_ranges.evaluated(**settings["evaluate"])
        ranges.reranking(**settings["reranking"])
        ranges.camera_reranking(**settings["ca_reranking"])

    sections = {name: settings[name] for name in ("reranking", "ca_reranking")}
    checked("settings", check, sections)
    if settings["loader"]["eval_batch_size"] is not None:
        batch_size_of(settings)
    threads_of(settings)


EARLY: Mapping[str, Callable[[Settings], Any]] = {
    "dccc_lightning.tasks.calibrate.calibrate": check_calibrate,
    "dccc_lightning.tasks.evaluate.evaluate": check_evaluate,
    "dccc_lightning.tasks.export.export": check_checkpoint,
    "dccc_lightning.tasks.identify.identify": check_identify,
    "dccc_lightning.tasks.index.index": check_index,
    "dccc_lightning.tasks.map.draw_map": check_map,
    "dccc_lightning.tasks.search.search": check_search,
}
"""Checks of the tasks whose modules import torch; other tasks check their settings first."""


def check_task(settings: Settings) -> None:
    """Check the settings of the task before its module is imported.

    Raises:
        UserError: One line with the setting.
    """
    if check := EARLY.get(str(settings["task"]["_target_"])):
        check(settings)


def read_table(folder: Path) -> GalleryTable | None:
    """Read only the table of a gallery; None if it is damaged or being changed.

    Raises:
        UserError: The folder is not a gallery.
    """
    names = file_names(folder, read_manifest(folder))
    try:
        return GalleryTable.from_parquet((folder / names["table"]).read_bytes())
    except (OSError, ValueError, KeyError):  # damaged, or changed during reading
        return None


def removed_ids(table: GalleryTable, value: Any) -> list[int]:
    """Return the ids selected by ``remove``: by number, by path, or by a folder of the path.

    Raises:
        UserError: An entry matches no image of the gallery.
    """
    entries, chosen = value if isinstance(value, list) else [value], set[int]()
    if not entries or any(isinstance(entry, bool) or entry is None for entry in entries):
        raise UserError(f"remove={value}: give an id, path or folder, or a list of these")
    for entry in entries:
        if isinstance(entry, int):
            found = table.ids[table.ids == entry]
        else:
            path = str(Path(str(entry)).expanduser().absolute())
            is_meant = [own == path or own.startswith(f"{path}/") for own in table.paths]
            found = table.ids[np.array(is_meant, dtype=np.bool_)]
        if not len(found):
            raise UserError(f"remove={entry}: no image of the gallery has this id, path or folder")
        chosen.update(found.tolist())
    return sorted(chosen)


def check_places(settings: Settings, key: str) -> None:
    """Check that the files, folders and splits in a setting exist.

    Raises:
        UserError: An entry does not exist.
    """
    value = settings[key]
    entries: Iterable[Any] = value if isinstance(value, list) else [value]
    for entry in map(str, entries):
        if entry in SPLITS:
            check_dataset(build_dataset(settings["dataset"]))
        elif not Path(entry).expanduser().exists():
            raise UserError(
                f"{key}={entry}: no such file or folder, and none of {', '.join(SPLITS)}"
            )


def _check_images(settings: Settings, key: str) -> None:
    """Check the images and the network of an input, unless it is an output of ``task=embed``."""
    value = settings[key]
    if isinstance(value, list) or not (Path(str(value)).expanduser() / _EMBEDDED).is_file():
        check_checkpoint(settings)
        check_places(settings, key)
