"""``task=calibrate``: the score threshold for a match of two images."""

from dataclasses import asdict
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common import collectives
from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.files import write_json
from dccc_lightning.common.progress import announced
from dccc_lightning.config.instantiate import Settings, checked, construct
from dccc_lightning.data.datasets.small_cameras import warn_of_small_cameras
from dccc_lightning.data.image_list import ListedImage
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.gallery.calibration import Calibration, Rate
from dccc_lightning.gallery.calibration import calibrate as calibrate_scores
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.neighbors.turned_rows import of_rows
from dccc_lightning.reports.figures.det_curve import plot_det
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.reports.results import versions
from dccc_lightning.tasks.early_checks import check_calibrate
from dccc_lightning.tasks.gallery_inputs import (
    embed_images,
    embedded_before,
    listed_images,
    loaded_embedder,
)
from dccc_lightning.tasks.inputs import path_of
from dccc_lightning.tasks.path_labels import DISTRACTOR, PathLabels

BIAS = (
    "pseudo labels stand for identities: pairs that the model confuses are labelled by its own "
    "judgement, so the rates are estimates; calibrate with identities if you have them"
)


def calibrate(settings: Settings, output: Path) -> dict[str, Any]:
    """Find the threshold of a false match rate on labelled or clustered images.

    Args:
        settings: Composed configuration.
        output: Folder to write calibration.json and det.png to.

    Returns:
        The content of calibration.json.

    Raises:
        UserError: A setting, image or checkpoint is invalid, or there are no pairs.
    """
    check_calibrate(settings)
    kind = settings["labels"]
    fingerprint, images, rows = _embedded(settings)
    collectives.leave_to_first()
    unit = checked("input", lambda: of_rows(rows, fingerprint))
    cameras = _numbered([image.camera for image in images])
    warn_of_small_cameras("input", cameras)
    if kind == "identities":
        labels = _identities(images)
    else:
        labels = _pseudo_labels(settings, unit, cameras)
    found = checked(
        "calibrate",
        lambda: calibrate_scores(
            unit,
            labels,
            cameras,
            settings["false_match_rate"],
            settings["seed"],
            sightings=_numbered([image.sighting for image in images]),
        ),
    )
    cautions = [text for text in (found.caution, BIAS if kind == "pseudo" else None) if text]
    results = {
        "threshold": found.threshold,
        "fingerprint": fingerprint,
        "labels": kind,
        "asked_false_match_rate": found.asked,
        "false_match": asdict(found.false_match),
        "false_non_match": asdict(found.false_non_match),
        "equal_error_rate": found.equal_error,
        "images": found.images,
        "people": found.people,
        "all_impostor_pairs": found.all_impostor_pairs,
        "cautions": cautions,
        "det": [
            dict(zip(("threshold", "fmr", "fnmr"), p, strict=True)) for p in found.curve.tolist()
        ],
        "versions": versions(),
    }
    write_json(output / "calibration.json", results)
    with warn_on_failure("det.png"):
        title = f"{found.people:,} people, {found.images:,} images ({kind})"
        plot_det(found, output / "det.png", title)
    CONSOLE.print(_summary(found))
    for caution in cautions:
        CONSOLE.print(f"caution: {caution}")
    return results


def _embedded(settings: Settings) -> tuple[str, list[ListedImage], NDArray[np.float32]]:
    """Return fingerprint, images and embeddings, from a gallery, ``task=embed`` or embedded now."""
    if settings["index"] is not None:
        gallery = GalleryIndex.load(path_of(settings, "index"))
        table = gallery.table
        names = zip(*table.columns[1:], strict=True)
        return gallery.fingerprint, list(starmap(ListedImage, names)), gallery.embeddings
    is_list = isinstance(settings["input"], list)
    labels = PathLabels(settings)
    before = None if is_list else embedded_before(path_of(settings, "input"), labels)
    if before is not None:
        return before.fingerprint, before.images, before.rows
    embedder = loaded_embedder(settings)
    images = listed_images(settings, "input", labels)
    return embedder.fingerprint, *embed_images(embedder, images, settings)


def _identities(images: list[ListedImage]) -> NDArray[np.int64]:
    """Return numbers of the identities; distractors are ``UNKNOWN``."""
    return _numbered(["" if i.identity == DISTRACTOR else i.identity for i in images])


def _pseudo_labels(
    settings: Settings, unit: UnitEmbeddings, cameras: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Cluster the embeddings with the settings of the last epoch of a training.

    Refinement is disabled, since it needs student and teacher; so are constraints, which are those
    of the training images.
    """
    schedule = construct("scheduler", settings["scheduler"])
    labeler = construct("clustering", settings["clustering"] | {"refine": 0.0, "constraints": None})
    last = settings["epochs"] - 1
    with announced("clustering"):
        labels: NDArray[np.int64] = checked(
            "clustering", lambda: labeler(unit, schedule, last, cameras=cameras).labels
        )
    return labels


def _numbered(names: list[str]) -> NDArray[np.int64]:
    """Return numbers of names in sorted order; the empty name is ``UNKNOWN``."""
    numbers = {name: number for number, name in enumerate(sorted(set(names) - {""}))}
    return np.array([numbers.get(name, UNKNOWN) for name in names], dtype=np.int64)


def _summary(found: Calibration) -> str:
    return (
        f"threshold {found.rounded}\n"
        f"  false matches: {_percent(found.false_match)} of "
        f"{found.false_match.pairs:,} impostor pairs\n"
        f"  false non-matches: {_percent(found.false_non_match)} of "
        f"{found.false_non_match.pairs:,} genuine pairs\n"
        f"  equal error rate: {100 * found.equal_error:.2f} %"
    )


def _percent(rate: Rate) -> str:
    return f"{100 * rate.value:.3g} % [{100 * rate.low:.3g}, {100 * rate.high:.3g}]"
