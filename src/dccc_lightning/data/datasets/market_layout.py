"""Datasets in the layout of Market-1501: three folders whose file names tell who is on an image."""

import os
from collections.abc import Sequence
from typing import ClassVar

from dccc_lightning.common import checks
from dccc_lightning.data.datasets.file_names import (
    JUNK,
    MARKET_FOLDERS,
    MARKET_NAMES,
    NO_FACTS,
    NameRule,
    read_market_layout,
)
from dccc_lightning.data.datasets.official_counts import Facts
from dccc_lightning.data.records import Splits


class MarketLayout:
    """A dataset in the layout of Market-1501; a subclass says what is its own.

    Args:
        root: the dataset's folder, or the folder that contains it.
        name: what the dataset is called in logs and reports; None: as usual.
        junk: identities that are not read; None: as usual.
        distractors: identities of strangers, which are in the gallery alone; None: as usual.

    Raises:
        TypeError: an identity is no number.

    Attributes:
        name: the usual one.
        folders: names that the dataset's folder may have, the official one first.
        parts: names of the train, query and gallery folder.
        rule: how file names tell identity and camera.
        facts: official counts.
        junk: the usual ones.
        distractors: the usual ones.
    """

    name: str
    folders: ClassVar[tuple[str, ...]]
    parts: ClassVar[tuple[str, str, str]] = MARKET_FOLDERS
    rule: ClassVar[NameRule] = MARKET_NAMES
    facts: ClassVar[Facts] = NO_FACTS
    junk: Sequence[int] = JUNK
    distractors: Sequence[int] = ()

    def __init__(
        self,
        root: str | os.PathLike[str],
        name: str | None = None,
        junk: Sequence[int] | None = None,
        distractors: Sequence[int] | None = None,
    ) -> None:
        self.root = checks.path("root", root)
        self.name = name or self.name
        if junk is not None:
            self.junk = _numbers("junk", junk)
        if distractors is not None:
            self.distractors = _numbers("distractors", distractors)

    def splits(self) -> Splits:
        """Read the three folders.

        Raises:
            UserError: a folder is missing or empty, or file names do not parse.
        """
        return read_market_layout(
            self.name,
            self.root,
            folders=self.folders,
            parts=self.parts,
            rule=self.rule,
            facts=self.facts,
            junk=self.junk,
            distractors=self.distractors,
        )


def _numbers(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return identities as numbers; a single one stands for a list of one."""
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    return tuple(checks.integer(name, value) for value in listed)
