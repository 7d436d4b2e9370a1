"""Plan and progress of a bulk embedding, stored on disk."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from dccc_lightning.common.files import write_atomically
from dccc_lightning.errors import UserError


@dataclass(frozen=True)
class Stored:
    """Values in a JSON file."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file written by ``write``.

        Raises:
            UserError: The file is damaged.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: damaged; start in another folder") from error

    def write(self, path: Path) -> None:
        """Write the values as JSON; the data that they describe must be on disk."""
        write_atomically(path, json.dumps(asdict(self)).encode())


@dataclass(frozen=True)
class Plan(Stored):
    """Images of a bulk embedding and their division, which do not change.

    Attributes:
        request: Source, network, format and part; another request does not continue this one.
        listed: Total number of images of the list.
        sha256: Hash of the list.
        bounds: Positions at which the shares of the processes begin, and the end of the last.
        complete: True if all files are written and may move to the output folder.
    """

    request: dict[str, str]
    listed: int
    sha256: str
    bounds: list[int]
    complete: bool = False

    @property
    def images(self) -> range:
        """Positions of the images to embed."""
        return range(self.bounds[0], self.bounds[-1])


@dataclass(frozen=True)
class Progress(Stored):
    """Progress of a share; the data up to it is on disk.

    Attributes:
        done: Position after the last image that was read.
        embedded: Number of rows of the embeddings, without unreadable images.
        skipped_bytes: Size of the list of unreadable images.
        seconds: Time spent.
    """

    done: int
    embedded: int = 0
    skipped_bytes: int = 0
    seconds: float = 0.0
