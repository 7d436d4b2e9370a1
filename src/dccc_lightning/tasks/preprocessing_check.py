"""Comparison of preprocessings by ``task=verify ckpt=FILE``: table, verdict and JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from dccc_lightning.common.console import CONSOLE
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.data.records import UNKNOWN, Records, Splits
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.tasks.inputs import batch_size_of, embedder_of

if TYPE_CHECKING:
    from dccc_lightning.inference.preprocessing_variants import Variant

MOST_IMAGES = 400
_PER_IDENTITY = 8
_FEWEST = 10
_CHANCE = 0.02
"""Difference of mAP below which two preprocessings are not told apart."""

_COLUMNS = {
    "spread": ("spread", "{:.1f}"),
    "mean_cosine": ("mean cosine", "{:.3f}"),
    "flips": ("neighbours of flips", "{:.0%}"),
    "mean_ap": ("mAP", "{:.1%}"),
}


def check_preprocessing(settings: Settings, splits: Splits) -> dict[str, Any]:
    """Compare plausible preprocessings of the network of ``ckpt`` on images of a dataset.

    Returns:
        The entry ``preprocessing`` of verify.json.

    Raises:
        UserError: The network cannot be loaded, an image cannot be read, or there are too few.
    """
    size = batch_size_of(settings)
    embedder = embedder_of(settings, "cpu")

    from dccc_lightning.inference.orientation import Orientation
    from dccc_lightning.inference.preprocessing_variants import compare_preprocessings

    records = chosen_images(splits)
    try:
        found = compare_preprocessings(
            embedder,
            records.paths,
            records.identities,
            records.cameras,
            size,
            records.sightings(),
        )
        orientation = Orientation.of(embedder.embed(records.paths, size, aligned=True))
    except UnreadableImageError as error:
        raise UserError(f"{error}; remove it to compare preprocessings") from error
    said = verdict(found, len(records))
    CONSOLE.print(preprocessing_table(found, len(records)))
    CONSOLE.print(said)
    CONSOLE.print(orientation.sentence)
    return {
        "checkpoint": embedder.origin.path,
        "fingerprint": embedder.fingerprint,
        "images": len(records),
        "in_use": embedder.preprocessing,
        "variants": [asdict(row) for row in found],
        "verdict": said,
        "orientation": asdict(orientation) | {"sentence": orientation.sentence},
    }


def chosen_images(splits: Splits) -> Records:
    """Choose images of the test split, of whole identities if known, else of the training split.

    Raises:
        UserError: There are too few.
    """
    records = splits.query.joined(splits.gallery)
    if len(records) < _FEWEST:
        records = splits.train
    if len(records) < _FEWEST:
        raise UserError(
            f"{splits.name}: {len(records)} images are too few to compare preprocessings; give at "
            f"least {_FEWEST}"
        )
    return records.select(_positions(records.identities))


def _positions(identities: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return up to ``MOST_IMAGES`` positions, of evenly spaced identities or images."""
    known = np.unique(identities[identities != UNKNOWN])
    groups = [np.flatnonzero(identities == identity)[:_PER_IDENTITY] for identity in known]
    groups = [group for group in groups if len(group) > 1] or [
        np.array([position]) for position in range(len(identities))
    ]
    mean = sum(map(len, groups)) / len(groups)
    wanted = min(len(groups), max(1, int(MOST_IMAGES / mean)))
    spaced = np.linspace(0, len(groups) - 1, wanted).astype(np.int64)
    positions: NDArray[np.int64] = np.sort(np.concatenate([groups[i] for i in spaced]))
    return positions


def preprocessing_table(rows: "Sequence[Variant]", images: int) -> Table:
    """Return the table of ``task=verify``, with the preprocessing in use marked."""
    table = Table(title=f"preprocessing, {images:,} images", title_justify="left")
    table.add_column("")
    for title, _ in _COLUMNS.values():
        table.add_column(title, justify="right")
    for row in rows:
        cells = [
            "" if (value := getattr(row, key)) is None else form.format(value)
            for key, (_, form) in _COLUMNS.items()
        ]
        table.add_row(f"{name_of(row)}{', in use' if row.in_use else ''}", *cells)
    return table


def name_of(row: "Variant") -> str:
    """Return a preprocessing as text, in the words of the settings."""
    return f"{row.normalization}, {row.colour}, {row.height} x {row.width}"


def verdict(rows: "Sequence[Variant]", images: int) -> str:
    """Return one sentence on what the comparison shows, and what it cannot show."""
    own = next(row for row in rows if row.in_use)
    if own.mean_ap is not None:
        best = max(rows, key=lambda row: row.mean_ap or 0.0)
        gain = (best.mean_ap or 0.0) - own.mean_ap
        if gain < _CHANCE:
            return (
                f"verdict: on {images:,} images with identities none ranks better than the "
                "preprocessing in use, beyond chance"
            )
        return (
            f"verdict: {name_of(best)} ranks {100 * gain:.1f} points of mAP better than the "
            f"preprocessing in use; of few identities this can be chance; to try it, {remedy(best)}"
        )
    best = max(rows, key=lambda row: row.spread / max(row.mean_cosine, 0.01))
    hint = (
        "the preprocessing in use has the widest embeddings"
        if best.in_use
        else f"{name_of(best)} has wider embeddings than the preprocessing in use; to try it, "
        f"{remedy(best)}"
    )
    return (
        f"verdict: {hint}; without identities this is only a hint on mean, std and size, and says "
        "nothing about the order of colours"
    )


def remedy(row: "Variant") -> str:
    """Return the settings of a preprocessing."""
    return (
        f"set +model.layout.normalization={row.normalization} +model.layout.colour={row.colour} "
        f"image.height={row.height} image.width={row.width} where the file is loaded"
    )
