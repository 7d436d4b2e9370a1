"""Labels from image paths, by ``pattern=`` or a gallery's stored pattern."""

from itertools import islice
from pathlib import Path
from typing import Any

from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.data.datasets.image_labels import PathPattern, quoted
from dccc_lightning.data.datasets.unknown_labels import UNKNOWN_WORDS, UnknownWords
from dccc_lightning.data.image_list import ListedImage
from dccc_lightning.errors import UserError
from dccc_lightning.gallery.gallery_index import GalleryIndex

READ = ("camera", "identity", "session", "tracklet")
"""Labels that are read from paths."""

DISTRACTOR = "distractor"
"""Identity of distractors, which Market-1501 calls 0000."""

_COMPARED = 1000  # images of the gallery that are compared with a new pattern


class PathLabels:
    """Reader of labels from paths, which counts paths without any.

    Args:
        settings: Composed configuration; ``pattern`` is a regular expression, None for the
            gallery's stored pattern, or False for no pattern.
        gallery: Gallery of the images or queries.

    Attributes:
        pattern: Regular expression; None if labels are not read.

    Raises:
        UserError: The pattern is invalid, or contradicts the names in the gallery.
    """

    def __init__(self, settings: Settings, gallery: GalleryIndex | None = None) -> None:
        chosen: Any = settings["pattern"]
        self._is_own = chosen is None and gallery is not None
        if self._is_own and gallery is not None:
            chosen = gallery.pattern
        self.pattern: str | None = None if chosen is False else chosen
        self._rule: PathPattern | None = None
        if self.pattern is not None:
            self._rule = checked("pattern", lambda: PathPattern(chosen))
            if gallery is not None and not self._is_own:
                _check_names(gallery, self._rule)
        self._words = UnknownWords(settings["dataset"].get("unknown", UNKNOWN_WORDS))
        self._unread: dict[str, str | None] = {}  # relative path by path; None if labelled

    def __call__(self, path: str, root: Path) -> ListedImage:
        """Return an image with the labels in its path, relative to ``root`` if inside."""
        if self._rule is None:
            return ListedImage(path)
        within = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path(path)
        labels = self._rule.labels(within.as_posix())
        is_read = labels is not None and any(getattr(labels, name) for name in READ)
        self._unread[path] = None if is_read else within.as_posix()
        if labels is None:
            return ListedImage(path)
        return ListedImage(
            path, *(self._words.known(name, getattr(labels, name) or "") for name in READ)
        )

    def check(self, source: str, *, needed: bool = True) -> None:
        """Report the number of paths that the pattern does not match.

        Args:
            source: Setting of the images with its value, for messages.
            needed: Also raise an error for the gallery's stored pattern.

        Raises:
            UserError: The pattern matches none of the paths.
        """
        if self._rule is None or (self._is_own and not self._unread):
            return
        self._words.warn(source)
        unread = [path for path in self._unread.values() if path is not None]
        own = "the gallery's own " if self._is_own else ""
        matches = f"{own}pattern={quoted(self.pattern or '')} matches"
        if not self._unread:
            raise UserError(
                f"{matches} no path of {source}, whose labels come from dataset=; omit it"
            )
        if len(unread) == len(self._unread) and (needed or not self._is_own):
            remedy = "; give one that matches, or pattern=false for none" if self._is_own else ""
            raise UserError(
                f"{matches} none of the {counted(len(unread), 'image')} of {source}, the first is "
                f"{unread[0]!r}{remedy}"
            )
        if unread:
            CONSOLE.print(
                f"note: {own}pattern does not match {len(unread):,} of "
                f"{counted(len(self._unread), 'image')} of {source}, which have neither camera nor "
                f"identity; the first is {unread[0]!r}"
            )


def _check_names(gallery: GalleryIndex, pattern: PathPattern) -> None:
    """Raise an error if a pattern reads other names than those in the gallery."""
    table = gallery.table
    for path, camera, identity in islice(
        zip(table.paths, table.cameras, table.identities, strict=True), _COMPARED
    ):
        labels = pattern.labels(Path(path).as_posix())
        pairs = ((labels.camera, camera), (labels.identity, identity)) if labels else ()
        for ours, theirs in pairs:
            if ours and theirs and theirs not in (ours, DISTRACTOR):
                raise UserError(
                    f"pattern: reads {ours!r} from {path}, where the gallery has {theirs!r}; use "
                    "the same pattern or dataset= for the gallery and for these images"
                )
