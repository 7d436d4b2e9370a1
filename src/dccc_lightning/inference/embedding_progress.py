"""How far the embedding of a list of images has come, on disk."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from dccc_lightning.common.files import write_atomically
from dccc_lightning.errors import UserError


@dataclass(frozen=True)
class Progress:
    """How far an embedding has come; what lies behind it on disk is certain.

    Attributes:
        request: What is embedded by what, to which format; another request is not continued.
        listed: Images in all.
        done: Images that have been read, in the order of the list.
        embedded: Rows of the embeddings: ``done`` less the unreadable ones.
        skipped_bytes: Length of the list of the unreadable ones.
        seconds: Time spent.
        complete: All is written, and may move to its place.
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
        """Read what ``write`` has written.

        Raises:
            UserError: The file is something else.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: damaged; start anew in another folder") from error

    def write(self, path: Path) -> None:
        """Write it as JSON; what it speaks of must be on the disk before."""
        write_atomically(path, json.dumps(asdict(self)).encode())
