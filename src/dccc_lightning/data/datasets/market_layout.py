"""The layout of Market-1501: three folders, labels in file names."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from dccc_lightning.data.datasets.declared_layout import DeclaredLayout
from dccc_lightning.data.datasets.file_names import MARKET_FOLDERS, list_images
from dccc_lightning.data.image_formats import MisnamedImages
from dccc_lightning.data.records import Splits

MARKET_NAME = r"(?P<identity>-1|\d+)_c(?P<camera>0*[1-9]\d*)s\d+_\w+"
EXAMPLE = "0001_c1s1_001051_00.jpg"


def read_market_layout(
    name: str,
    root: str | os.PathLike[str],
    *,
    require_test: bool = True,
    distractors: Sequence[int] = (),
) -> Splits:
    """Read a folder with the folders and names of Market-1501.

    Args:
        name: Name of the dataset, for ``Splits.name`` and messages.
        root: Folder that contains the three folders.
        require_test: False if there may be no query and gallery images.
        distractors: Identities that occur in the gallery only.

    Raises:
        UserError: A folder is missing, a name does not match, a distractor is a query, or a split
            is empty.
    """
    splits = dict(zip(("train", "query", "gallery"), MARKET_FOLDERS, strict=True))
    queries = Path(root) / splits["query"]
    if not require_test and not (queries.is_dir() and list_images(queries, MisnamedImages())):
        del splits["query"], splits["gallery"]
    return DeclaredLayout(
        root, name, splits, distractors=distractors, pattern=MARKET_NAME, example=EXAMPLE
    ).splits()


def is_market_distractor(path: str) -> bool:
    """Return True if a file name is one of Market-1501 with identity 0.

    >>> is_market_distractor("a/0000_c5s1_000151_01.jpg")
    True
    """
    match = re.fullmatch(MARKET_NAME, Path(path).stem, re.ASCII)
    return match is not None and int(match["identity"]) == 0
