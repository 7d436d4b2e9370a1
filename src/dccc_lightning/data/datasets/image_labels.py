"""Labels of images, from the groups of their paths."""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

TRAIN, TEST, QUERY, GALLERY = "train", "test", "query", "gallery"
"""Splits; ``split_assignment`` divides ``test`` into query and gallery."""

LABELS = ("camera", "identity", "split", "session", "tracklet", "clothes", "modality", "frame")
"""Groups of a pattern and columns of a table."""

_FIELD = re.compile(r"\{([^{}]*)\}")


class ImageLabels(NamedTuple):
    """Path and labels of an image, any strings; an empty label is unknown.

    Attributes:
        path: Path relative to the root, or absolute.
        camera: Camera.
        identity: Identity.
        split: Name that ``SplitNames`` maps to a split.
        session: Sighting or day; images of an identity in one session are no match of each other in
            evaluation. Clustering ignores it.
        tracklet: Sequence of images of one identity under one camera.
        clothes: Clothes.
        modality: Visible, infrared and so on.
        frame: Position in time.
    """

    path: str
    camera: str = ""
    identity: str = ""
    split: str = ""
    session: str = ""
    tracklet: str = ""
    clothes: str = ""
    modality: str = ""
    frame: str = ""


class LabelTemplates:
    """Templates that join named groups to labels, such as ``{person}{time}``.

    A group called like a label is that label, unless a template says otherwise. A group that did
    not match is an empty text.

    Args:
        templates: Text with groups in braces, by label; None for the default.
        groups: Names of the groups.

    Raises:
        TypeError: A template is not a string.
        ValueError: A label is unknown, or a template names an unknown group.

    Attributes:
        groups: Names of the groups that are used.

    >>> LabelTemplates({"identity": "{p}-{t}"}, ["p", "t", "camera"]).labels(
    ...     "a.jpg", {"p": "1", "t": "7", "camera": "c2"}
    ... ).identity
    '1-7'
    """

    def __init__(self, templates: Mapping[str, object], groups: Collection[str]) -> None:
        self._texts = {label: f"{{{label}}}" for label in LABELS if label in groups}
        for label, text in templates.items():
            if label not in LABELS:
                raise ValueError(f"labels are {', '.join(LABELS)}, got {label}")
            if text is None:
                continue
            if not isinstance(text, str):
                raise TypeError(
                    f'{label} must be a text such as "{{person}}{{time}}", got {text!r}'
                )
            unknown = [group for group in _FIELD.findall(text) if group not in groups]
            if unknown or re.search("[{}]", _FIELD.sub("", text)):
                raise ValueError(
                    f"{label} must name groups in braces, some of {', '.join(groups) or 'none'}, "
                    f"got {text!r}"
                )
            self._texts[label] = text
        self.groups = {group for text in self._texts.values() for group in _FIELD.findall(text)}

    def is_one_group(self, label: str) -> bool:
        """Return True if a label is one group as it is, or not given."""
        return _FIELD.fullmatch(self._texts.get(label, "{}")) is not None

    def labels(self, path: str, groups: Mapping[str, str | None]) -> ImageLabels:
        """Return the labels of an image."""
        joined = {label: joined_text(text, groups) for label, text in self._texts.items()}
        return ImageLabels(path, **joined)


def joined_text(template: str, groups: Mapping[str, str | None]) -> str:
    """Return a template with groups in the place of their names in braces."""
    return _FIELD.sub(lambda match: groups[match[1]] or "", template).strip()


def quoted(pattern: str) -> str:
    r"""Return a regular expression in quotes, escaped only if it has line breaks.

    >>> print(quoted(r"c(?P<camera>\d)"), quoted("a" + chr(10)))
    'c(?P<camera>\d)' 'a\n'
    """
    return f"'{pattern}'" if pattern.isprintable() else repr(pattern)


class PathPattern:
    r"""Regular expression that reads labels from a path.

    Args:
        pattern: Expression searched for in the path relative to the root, with ``/`` between
            folders. Its named groups are some of ``LABELS``, or are named in ``templates``.
        templates: Labels joined from groups, see ``LabelTemplates``.

    Raises:
        TypeError: ``pattern`` or a template is not a string.
        ValueError: ``pattern`` is not a regular expression, or has other named groups or none, or
            a template names an unknown group.

    >>> PathPattern(r"(?P<camera>cam\d+)/(?P<identity>[^/_]+)").labels("cam2/anna_07.jpg").identity
    'anna'
    """

    def __init__(self, pattern: str, templates: Mapping[str, object] | None = None) -> None:
        if not isinstance(pattern, str):
            raise TypeError(f"pattern must be a string, got {pattern!r}")
        try:
            self.expression = re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            reason = " ".join(str(error).split())  # on one line: it quotes the pattern
            raise ValueError(
                f"pattern must be a regular expression, got {quoted(pattern)}: {reason}"
            ) from error
        groups = list(self.expression.groupindex)
        self._templates = LabelTemplates(templates or {}, groups)
        if not groups or not set(groups) <= {*LABELS, *self._templates.groups}:
            raise ValueError(
                "pattern must have named groups as (?P<camera>...), some of "
                f"{', '.join(LABELS)}, got {', '.join(groups) or 'none'}"
            )

    def labels(self, path: str) -> ImageLabels | None:
        """Return the labels in ``path``; None if it does not match."""
        match = self.expression.search(path)
        if match is None:
            return None
        return self._templates.labels(path, match.groupdict())
