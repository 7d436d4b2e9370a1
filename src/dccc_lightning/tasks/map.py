"""``task=map``: page of a map of embeddings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.common.files import write_json
from dccc_lightning.common.progress import announced
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.data.natural_order import natural_key
from dccc_lightning.errors import UserError
from dccc_lightning.identities.identity_table import STEM, read_known
from dccc_lightning.neighbors.turned_rows import of_rows
from dccc_lightning.reports.cluster_table import read_cluster_table
from dccc_lightning.reports.figures.embedding_map import sample
from dccc_lightning.reports.map_frames import FOLDER, IMAGES, MapImages, make_frame
from dccc_lightning.reports.map_page import write_map_page, write_run_map
from dccc_lightning.tasks.gallery_inputs import embedded_before
from dccc_lightning.tasks.inputs import path_of
from dccc_lightning.tasks.path_labels import PathLabels

PAGE = "map.html"


@dataclass(frozen=True, eq=False)
class _Embedded:
    """Images with embeddings (N, D), and their identities as numbers of ``groups``, if found.

    Without identities these may be a sample of ``total`` images.
    """

    images: MapImages
    rows: NDArray[np.float32]
    fingerprint: str
    labels: NDArray[np.int64]
    groups: list[str] | None
    total: int


def draw_map(settings: Settings, output: Path) -> dict[str, Any]:
    """Draw the map of a training, of embeddings or of identities.

    Args:
        settings: Composed configuration; ``input``, ``images`` and ``pattern`` are used.
        output: Folder to write map.html, results.json and, if it is large, map_files/ to.

    Returns:
        The content of results.json: the page and the number of images on it.

    Raises:
        UserError: ``input`` is no such folder, it is damaged, or embeddings are not finite.
    """
    folder, page = path_of(settings, "input"), output / PAGE
    title = f"map of {folder.resolve().name}"
    if (folder / FOLDER / IMAGES).is_file():
        shown = _of_run(folder, page, title)
    else:
        found = _found(folder, settings)
        unit = checked(f"input={folder}", lambda: of_rows(found.rows, found.fingerprint))
        shown = min(len(unit), settings["images"] or len(unit))
        with announced(f"arranging {shown:,} images by t-SNE"):
            frame = make_frame(unit, found.labels, most=shown)
        images = found.images[frame.images]
        write_map_page(page, title, images, {"": frame}, found.groups, total=found.total)
    results = {"page": str(page), "images": shown}
    write_json(output / "results.json", results)
    CONSOLE.print(f"page of {counted(shown, 'image')}: {page}")
    return results


def _of_run(folder: Path, page: Path, title: str) -> int:
    try:
        clusters = read_cluster_table(folder / "clusters")
        total = None if clusters is None else clusters.num_rows
        shown = write_run_map(page, title, folder / FOLDER, total)
    except ValueError as error:
        raise UserError(f"{folder / FOLDER}: {error}") from error
    if not shown:
        raise UserError(f"{folder / FOLDER}: no epoch has been evaluated yet")
    return shown


def _found(folder: Path, settings: Settings) -> _Embedded:
    is_identified = (folder / f"{STEM}.json").is_file()
    return _identities(folder) if is_identified else _embeddings(folder, settings)


def _identities(folder: Path) -> _Embedded:
    try:
        known = read_known(folder)
    except UserError as error:
        raise UserError(f"input={folder}: damaged; run task=identify again") from error
    assert known.embeddings is not None
    ids = [str(identity) for identity in known.identities]
    groups = sorted(set(ids), key=natural_key)
    places = {identity: place for place, identity in enumerate(groups)}
    labels = np.array([places[identity] for identity in ids], dtype=np.int64)
    unknown: list[str | None] = [None] * len(ids)
    cameras = known.images.columns.get("camera") or unknown
    return _Embedded(
        MapImages(known.images.paths, cameras, unknown),
        known.embeddings,
        known.fingerprint,
        labels,
        groups,
        len(ids),
    )


def _embeddings(folder: Path, settings: Settings) -> _Embedded:
    before = embedded_before(folder, PathLabels(settings))
    assert before is not None  # by check_map
    images, rows = before.images, before.rows
    chosen = sample(len(images), settings["images"] or len(images))  # the others are not read
    listed = [images[n] for n in chosen]
    columns = (
        [getattr(image, name) or None for image in listed] for name in ("camera", "identity")
    )
    outliers = np.full(len(listed), -1, dtype=np.int64)
    shown = MapImages([image.path for image in listed], *columns)
    return _Embedded(shown, rows[chosen], before.fingerprint, outliers, None, len(images))
