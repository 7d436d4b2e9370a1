"""Progress of a bulk embedding, stored on disk."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from dccc_lightning.common.files import write_atomically
from dccc_lightning.errors import UserError


@dataclass(frozen=True)
class Progress:
    """Progress of a bulk embedding; the data up to it is on disk.

    Attributes:
        request: Source, network and format; an embedding with another request is not resumed.
        listed: Total number of images.
        done: Number of images read, in the order of the list.
        embedded: Number of rows of the embeddings: ``done`` minus unreadable images.
        skipped_bytes: Size of the list of unreadable images.
        seconds: Time spent.
        complete: True if all files are written and may move to the output folder.
    """

    request: dict[str, str]
    listed: int
    done: int = 0
    embedded: int = 0
    skipped_bytes: int = 0
    seconds: float = 0.0
    complete: bool = False

    @classmethod
    def read(cls, path: Path) -> "Progress":
        """Read a file written by ``write``.

        Raises:
            UserError: The file is damaged.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: damaged; start in another folder") from error

    def write(self, path: Path) -> None:
        """Write the progress as JSON; the data up to it must be on disk."""
        write_atomically(path, json.dumps(asdict(self)).encode())
