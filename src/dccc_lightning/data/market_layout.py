"""Datasets in the layout of Market-1501: three folders whose file names tell who is on an image."""

import os
from typing import ClassVar

from dccc_lightning import checks
from dccc_lightning.data.facts import Facts
from dccc_lightning.data.layout import (
    MARKET_FOLDERS,
    MARKET_NAMES,
    NO_FACTS,
    NameRule,
    read_market_layout,
)
from dccc_lightning.data.records import Splits


class MarketLayout:
    """A dataset in the layout of Market-1501; a subclass says what is its own.

    Args:
        root: the dataset's folder, or the folder that contains it.
        name: what the dataset is called in logs and reports; None: as usual.

    Attributes:
        name: the usual one.
        folders: names that the dataset's folder may have, the official one first.
        parts: names of the train, query and gallery folder.
        rule: how file names tell identity and camera.
        facts: official counts.
    """

    name: str
    folders: ClassVar[tuple[str, ...]]
    parts: ClassVar[tuple[str, str, str]] = MARKET_FOLDERS
    rule: ClassVar[NameRule] = MARKET_NAMES
    facts: ClassVar[Facts] = NO_FACTS

    def __init__(self, root: str | os.PathLike[str], name: str | None = None) -> None:
        self.root = checks.path("root", root)
        self.name = name or self.name

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
        )
