"""Base class of datasets in the layout of Market-1501: three folders, labels in file names."""

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
    """Dataset in the layout of Market-1501; subclasses set the class attributes.

    Args:
        root: Dataset's folder, or the folder that contains it.
        name: Name of the dataset in logs and reports; None for the class's.
        junk: Identities that are not read; None for the class's.
        distractors: Identities that occur in the gallery only; None for the class's.

    Raises:
        TypeError: An identity is not a number.

    Attributes:
        name: Default name.
        folders: Possible names of the dataset's folder, the official one first.
        parts: Names of the train, query and gallery folder.
        rule: Rule that reads identity and camera from file names.
        facts: Official counts.
        junk: Default junk identities.
        distractors: Default distractors.
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
            UserError: A folder is missing or empty, or file names do not parse.
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
    """Return identities as a tuple of numbers; a single number becomes a tuple of one."""
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    return tuple(checks.integer(name, value) for value in listed)
