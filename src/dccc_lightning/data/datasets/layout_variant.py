"""Settings of a declared layout: the sources of its splits, official counts and protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dccc_lightning.common import checks
from dccc_lightning.data.datasets.image_labels import GALLERY, QUERY, TEST, TRAIN
from dccc_lightning.data.datasets.official_counts import Facts
from dccc_lightning.data.datasets.official_divisions import Divisions
from dccc_lightning.data.datasets.split_source import READING, SplitSource

ALL = "all"
PARTS = (TRAIN, QUERY, GALLERY, TEST, ALL)
"""Splits of a layout: ``test`` and ``all`` are divided by ``split_assignment``."""

OF_VARIANT = ("home", "splits", "facts", "layout", "protocol", "marks", "test_share", "divisions",
              *READING)  # fmt: skip
"""Settings that a variant may replace."""


@dataclass(frozen=True)
class LayoutVariant:
    """Settings of the chosen variant.

    Attributes:
        home: Folder of the variant below the dataset's; empty for the dataset's.
        sources: Sources of each split.
        text: Description for messages and reports.
        facts: Official counts.
        protocol: Name of the evaluation protocol.
        test_share: See ``DeclaredLayout``; None for the default.
        divisions: Official divisions of people, see ``DeclaredLayout``.
        marks: Folders and files by which the dataset's folder is recognised.
    """

    home: str
    sources: Mapping[str, Sequence[SplitSource]]
    text: str
    facts: Facts
    protocol: str
    test_share: float | None
    divisions: Divisions | None
    marks: tuple[str, ...]

    def folders(self) -> list[str]:
        """Return the folders that must exist."""
        every = (source for sources in self.sources.values() for source in sources)
        return list(dict.fromkeys(source.folder for source in every))

    def files(self) -> list[str]:
        """Return the list files that must exist."""
        every = (source for sources in self.sources.values() for source in sources)
        return list(dict.fromkeys(file for source in every for file in source.files()))

    def is_in(self, dataset: Path) -> int:
        """Return 2 if a dataset has all folders and lists, 1 if it has a folder, else 0."""
        home = dataset / self.home
        found = [(home / folder).is_dir() for folder in self.folders() if folder]
        is_whole = all(found) and all((home / file).is_file() for file in self.files())
        return 2 if is_whole else int(any(found))


def variant_of(settings: Mapping[str, object]) -> LayoutVariant:
    """Return the layout that settings describe."""
    for key in settings:
        if key not in OF_VARIANT:
            raise ValueError(f"{key} is no such setting; valid: {', '.join(OF_VARIANT)}")
    splits, marks = settings["splits"], settings["marks"]
    share, divisions = settings["test_share"], settings["divisions"]
    if not isinstance(splits, Mapping) or not splits or not set(splits) <= set(PARTS):
        raise ValueError(f"splits must be settings of some of {', '.join(PARTS)}, got {splits!r}")
    usual = {key: value for key, value in settings.items() if key in READING}
    sources = {
        split: [
            SplitSource.of(
                f"splits.{split}", usual | ({"folder": own} if isinstance(own, str) else own)
            )
            for own in (given if isinstance(given, (list, tuple)) else [given])
        ]
        for split, given in splits.items()
    }
    every = [source for parts in sources.values() for source in parts]
    folders = list(dict.fromkeys(source.folder for source in every))
    lists = list(dict.fromkeys(file for source in every for file in source.lists))
    if not isinstance(marks, (list, tuple)):
        marks = lists or [folder for folder in folders if folder] or ["."]
    example = next(((s.lists and s.line_example) or s.example for s in every), "")
    named = ",".join([*(folder for folder in folders if folder), *lists])
    named = f"{{{named}}}" if "," in named else named
    text = f"{named} with names as {example}" if named else f"{example} and others"
    return LayoutVariant(
        home=str(settings.get("home") or ""),
        sources=sources,
        text=str(settings["layout"] or text),
        facts=Facts.of(settings["facts"]),
        protocol=str(settings["protocol"]),
        test_share=None if share is None else checks.real("test_share", share, 0, 1),
        divisions=None if divisions is None else Divisions.of(divisions),
        marks=tuple(marks),
    )


def merged_splits(usual: object, own: object) -> object:
    """Return the splits of a variant: its own, and the others as they are."""
    if isinstance(usual, Mapping) and isinstance(own, Mapping):
        return {**usual, **own}
    return usual if own is None else own
