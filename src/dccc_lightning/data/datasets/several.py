"""Training images of several datasets, evaluated on one of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dccc_lightning.common import checks
from dccc_lightning.data.records import UNKNOWN, Records, ReIDDataset, Splits
from dccc_lightning.errors import UserError

COUNTED = ("frame", "modality")
"""Columns whose numbers mean the same in every dataset."""


class SeveralDatasets:
    """Dataset with the training images of several, in their order, and the test of one.

    Identities, cameras, tracklets, clothes and sessions of different datasets are kept apart: their
    numbers are shifted above those of the datasets before.

    Args:
        parts: Datasets, with different names.
        name: Name of the dataset in logs and reports.
        test: Name of the dataset whose query and gallery are used; None for the first.

    Raises:
        ValueError: There are no datasets, two have one name, or ``test`` names none of them.
    """

    def __init__(
        self, parts: Sequence[ReIDDataset], name: str = "several", test: str | None = None
    ) -> None:
        names = [part.name for part in parts]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"of must name datasets, each once, got {', '.join(names) or 'none'}")
        self.parts = parts
        self.name = name
        self.test = names[0] if test is None else checks.choice("test", test, names)

    def splits(self) -> Splits:
        """Read the datasets.

        Raises:
            UserError: A dataset cannot be read, has no training images, or has images of another.
        """
        trained: list[Records] = []
        tested: Splits | None = None
        above: dict[str, int] = {}
        for part in self.parts:
            splits = part.splits()
            if not len(splits.train):
                raise UserError(f"{self.name}: {part.name} has no training images; leave it out")
            every = (splits.train, splits.query, splits.gallery)
            train, query, gallery = (_shifted(records, above) for records in every)
            trained.append(train)
            if part.name == self.test:
                tested = replace(splits, query=query, gallery=gallery)
            for label in ("identity", "camera", *train.columns):
                values = np.concatenate([_label(r, label) for r in (train, query, gallery)])
                above[label] = max(above.get(label, 0), int(values.max()) + 1)
        assert tested is not None  # test is one of the names
        self._refuse_shared_images(trained, tested)
        return Splits(
            self.name, tested.root, trained[0].joined(*trained[1:]), tested.query, tested.gallery,
            layout=f"training images of {', '.join(part.name for part in self.parts)}, test of "
            f"{self.test} ({tested.layout})",
            shared_identities=tested.shared_identities, protocol=tested.protocol,
        )  # fmt: skip

    def _refuse_shared_images(self, trained: Sequence[Records], tested: Splits) -> None:
        """Raise an error if datasets share files, which would be of two people each."""
        owners = {path: self.test for part in (tested.query, tested.gallery) for path in part.paths}
        for part, records in zip(self.parts, trained, strict=True):
            own = part.name == self.test
            shared = [path for path in records.paths if path in owners and not own]
            if shared:
                raise UserError(
                    f"{self.name}: {len(shared)} training images of {part.name} are images of "
                    f"{owners[shared[0]]} too, the first is {shared[0]}; leave one of the two out"
                )
            owners |= dict.fromkeys(records.paths, part.name)


def _label(records: Records, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if name in ("identity", "camera"):
        return records.identities if name == "identity" else records.cameras
    return records.column(name)


def _shifted(records: Records, above: dict[str, int]) -> Records:
    """Return records whose known labels are shifted, by name of the label."""

    def shifted(name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        values = _label(records, name)
        offset = 0 if name in COUNTED else above.get(name, 0)
        return np.where(values == UNKNOWN, UNKNOWN, values + offset).astype(np.int64)

    columns = {name: shifted(name) for name in records.columns}
    return Records(records.paths, shifted("identity"), shifted("camera"), columns)
