"""Comparison of preprocessings by ``task=verify ckpt=FILE``: table, verdict and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
LEAST_IDENTITIES, LEAST_QUERIES = 20, 60
"""Numbers of identities, and of their images with a match, below which mAP shows nothing."""

LEAST_IMAGES = 60
"""Number of images below which the spread of their embeddings shows nothing."""

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
    upright = {**settings, "embedding": {"rotations": 1, "match": None}}
    embedder = embedder_of(upright, "cpu")  # its turns are compared by Orientation

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
    counts = Counts.of(records)
    said = verdict(found, counts)
    CONSOLE.print(preprocessing_table(found, len(records)))
    CONSOLE.print(said)
    CONSOLE.print(orientation.sentence)
    return {
        "checkpoint": embedder.origin.path,
        "fingerprint": embedder.fingerprint,
        **asdict(counts),
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


@dataclass(frozen=True)
class Counts:
    """Numbers that a verdict rests on.

    Attributes:
        images: Images that were embedded.
        identities: Identities with a match under another camera, in another sighting.
        queries: Images with such a match.
    """

    images: int
    identities: int
    queries: int

    @classmethod
    def of(cls, records: Records) -> "Counts":
        """Count the images of records; one of an unknown camera matches all others."""
        people, places, seen = records.identities, records.cameras, records.sightings()
        other = (places[:, None] != places) | (places == UNKNOWN)
        other &= (seen[:, None] != seen) | (seen == UNKNOWN)
        np.fill_diagonal(other, False)
        has_match = ((people[:, None] == people) & other).any(axis=1) & (people != UNKNOWN)
        return cls(len(records), len(np.unique(people[has_match])), int(has_match.sum()))


def verdict(rows: "Sequence[Variant]", counts: Counts) -> str:
    """Return one sentence on what the comparison shows, and what it cannot show."""
    if counts.queries:
        return f"verdict: {_by_identities(rows, counts)}"
    return f"verdict: {_by_spread(rows, counts.images)}"


def _by_identities(rows: "Sequence[Variant]", counts: Counts) -> str:
    seen = f"{counts.identities:,} identities with {counts.queries:,} queries"
    if counts.identities < LEAST_IDENTITIES or counts.queries < LEAST_QUERIES:
        return (
            f"none, {seen} are too few to tell preprocessings apart; give at least "
            f"{LEAST_IDENTITIES} identities with {LEAST_QUERIES} images that have a match"
        )
    better = [row for row in rows if row.gain is not None and row.gain[0] > 0]
    if not better:
        return f"by {seen} none ranks better than the preprocessing in use, beyond chance"
    best = max(better, key=lambda row: row.mean_ap or 0.0)
    low, gain, high = (100 * value for value in best.gain or ())
    return (
        f"{name_of(best)} ranks {gain:.1f} points of mAP better than the preprocessing in use "
        f"({low:.1f} to {high:.1f}, by {seen}); to try it, {remedy(best)}"
    )


def _by_spread(rows: "Sequence[Variant]", images: int) -> str:
    if images < LEAST_IMAGES:
        return (
            f"none, {images:,} images without identities are too few to compare the spread of "
            f"embeddings; give at least {LEAST_IMAGES}"
        )
    wider = [row for row in rows if row.wider == 1]
    best = max(wider, key=lambda row: row.breadth, default=None)
    hint = "no preprocessing has wider embeddings in all halves of the images than the one in use"
    if best is not None:
        hint = (
            f"{name_of(best)} has wider embeddings than the preprocessing in use, in all halves "
            f"of the images; to try it, {remedy(best)}"
        )
    return (
        f"{hint}; without identities this is only a hint on mean, std and size, and says nothing "
        "about the order of colours"
    )


def remedy(row: "Variant") -> str:
    """Return the settings of a preprocessing."""
    return (
        f"set +model.layout.normalization={row.normalization} +model.layout.colour={row.colour} "
        f"image.height={row.height} image.width={row.width} where the file is loaded"
    )
