"""Cuts of ``task=identify``: tracklets in which people were exchanged become two."""

from collections.abc import Sequence

from dccc_lightning.data.tracklet_pieces import piece_counts, piece_name, whole_name
from dccc_lightning.identities.exchanges import after_exchanges
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.tasks.identify_constraints import tracks_of
from dccc_lightning.tasks.identify_inputs import Labelled


def cut_names(images: Labelled, unit: UnitEmbeddings) -> list[str | None]:
    """Return the names of the tracklets of images (N,), those of pieces where one is cut.

    A piece of an earlier cut is not cut again. New images of a tracklet that was cut before are a
    tracklet of their own; the numbers of its pieces follow the earlier ones.

    Args:
        images: Images to identify.
        unit: Their embeddings.
    """
    names = images.columns["tracklet"]
    tracks = tracks_of(images, names)
    follows = after_exchanges(unit, tracks.first, tracks.frames, tracks.different)
    cut = set(tracks.first[follows].tolist())
    earlier = piece_counts(set(filter(None, names)))
    return [
        piece_name(name, earlier.get(name, 0) + 1 + int(after))
        if name is not None and first in cut and name == whole_name(name)
        else name
        for name, first, after in zip(names, tracks.first.tolist(), follows, strict=True)
    ]


def newly_cut(before: Sequence[str | None], after: Sequence[str | None]) -> list[str]:
    """Return the tracklets that are cut now and were not before, in the order of their names.

    >>> newly_cut(["a", "a", "b", "c cut 1", None], ["a cut 1", "a cut 2", "b", "c cut 1", None])
    ['a']
    """
    pairs = zip(before, after, strict=True)
    return sorted({old for old, new in pairs if old is not None and old != new})
