"""Compare the model of a gallery with the model of new embeddings."""

from collections.abc import Mapping
from typing import Any

from dccc_lightning.errors import UserError


def check_model(
    gallery: tuple[str, object], given: tuple[str, Mapping[str, Any] | None], network: str = ""
) -> None:
    """Raise if embeddings cannot be compared with those of a gallery.

    Args:
        gallery: Fingerprint and preprocessing (of the manifest) of the gallery's model.
        given: Fingerprint and preprocessing of the model of the new embeddings.
        network: Name of the gallery's model, empty if unknown.

    Raises:
        UserError: The fingerprints differ; the message names the differences of preprocessing.
    """
    (ours, theirs) = gallery[0], given[0]
    if ours != theirs:
        differences = preprocessing_differences(gallery[1], given[1])
        cause = f"; its images were preprocessed with {differences}" if differences else ""
        raise UserError(
            f"the gallery was embedded by the model {ours}{f' ({network})' if network else ''}, "
            f"not by {theirs}{cause}; use that "
            "model, or build the gallery anew with this one"
        )


def preprocessing_differences(ours: object, theirs: object) -> str:
    """Return the differences of two preprocessings as text; empty if one is unknown.

    >>> preprocessing_differences({"mean": [0.5], "height": 2}, {"mean": [0.4], "height": 2})
    'mean 0.5, not 0.4'
    """
    if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
        return ""
    return ", ".join(
        f"{key} {_shown(ours[key])}, not {_shown(theirs[key])}"
        for key in theirs
        if key in ours and ours[key] != theirs[key]
    )


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
