"""Embedding of a stretch of a list of images into a folder, which resumes after an interruption."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice, tee
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from dccc_lightning.common.progress import announced
from dccc_lightning.data.image_list import read_table
from dccc_lightning.data.image_stream import Decoded
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.inference.embedding_file import EmbeddingFile, FileFormat, open_at
from dccc_lightning.inference.embedding_progress import Progress
from dccc_lightning.inference.image_embedder import ImageEmbedder

SKIPPED = "skipped.jsonl"
"""List of unreadable images, if any: position in the list, path, reason."""

COMMIT_SECONDS = 10.0
"""Interval of commits: the most work that a killed process loses."""

_PROGRESS = "progress.json"


@dataclass(frozen=True)
class EmbeddingShare:
    """Images of a list that one process embeds.

    Attributes:
        embedder: Network with its preprocessing.
        listing: Table of all images.
        positions: Positions of the images in the table.
        folder: Folder of the rows, the list of unreadable images and the progress.
        file_format: Format of the embeddings.
        batch_size: Number of images per step.
        threads: Number of decoding threads; None for one per core.
        skip_unreadable: Skip and list unreadable images instead of raising an error.
    """

    embedder: ImageEmbedder
    listing: Path
    positions: range
    folder: Path
    file_format: FileFormat
    batch_size: int
    threads: int | None
    skip_unreadable: bool

    @property
    def embeddings(self) -> Path:
        """File of the rows."""
        return self.folder / f"embeddings.{self.file_format}"

    @property
    def skipped(self) -> Path:
        """List of unreadable images."""
        return self.folder / SKIPPED

    def open(self, rows: int) -> EmbeddingFile:
        """Open the file of the embeddings, truncated after ``rows`` rows."""
        return EmbeddingFile(self.embeddings, self.embedder.row_dim, self.file_format, rows)

    def embed(self) -> Progress:
        """Embed the images that are not embedded yet.

        Raises:
            UnreadableImageError: An image cannot be read.
            UserError: The folder is on a file system that this process cannot reach.
        """
        if not self.listing.exists():
            raise UserError(
                f"{self.listing}: not there for this process; all processes must reach output="
            )
        path = self.folder / _PROGRESS
        self.folder.mkdir(parents=True, exist_ok=True)
        progress = Progress.read(path) if path.exists() else Progress(self.positions.start)
        file, total = self.open(progress.embedded), len(self.positions)
        with (
            closing(file),
            open_at(self.skipped, progress.skipped_bytes) as skipped,
            announced("embedding", total, done=progress.done - self.positions.start) as phase,
        ):
            saved = started = time.monotonic()
            before = progress.seconds
            try:
                for paths, outcomes in self._batches(progress.done):
                    pixels = self._readable(progress.done, paths, outcomes, skipped)
                    if len(pixels):
                        file.append(self.embedder.rows(pixels, self.batch_size).numpy())
                    now = time.monotonic()
                    # One assignment, so that an interrupt at any time commits consistent progress.
                    progress = replace(
                        progress,
                        done=progress.done + len(paths),
                        embedded=file.rows,
                        skipped_bytes=skipped.tell(),
                        seconds=before + now - started,
                    )
                    phase.advance(len(paths))
                    if now - saved >= COMMIT_SECONDS:
                        saved = now
                        self._commit(progress, file, skipped)
            finally:
                self._commit(progress, file, skipped)
        return progress

    def _batches(self, start: int) -> Iterator[tuple[list[str], list[Decoded]]]:
        """Yield batches of paths and decoded images, beginning with image ``start``."""
        rows = islice(read_table(self.listing, start), self.positions.stop - start)
        ours, theirs = tee(row.path for row in rows)
        for outcomes in self.embedder.decode(theirs, self.batch_size, self.threads):
            yield list(islice(ours, len(outcomes))), outcomes

    def _readable(
        self, start: int, paths: list[str], outcomes: list[Decoded], skipped: BinaryIO
    ) -> Tensor:
        """Return the decoded images of a batch and write the unreadable ones to ``skipped``."""
        pixels = []
        for index, (path, outcome) in enumerate(zip(paths, outcomes, strict=True), start):
            if not isinstance(outcome, UnreadableImageError):
                pixels.append(torch.from_numpy(outcome))
            elif self.skip_unreadable:
                line = json.dumps({"index": index, "path": path, "reason": str(outcome)})
                skipped.write(f"{line}\n".encode())
            else:
                raise outcome
        return torch.stack(pixels) if pixels else torch.empty(0)

    def _commit(self, progress: Progress, file: EmbeddingFile, skipped: BinaryIO) -> None:
        """Flush the data to disk, then write the progress."""
        file.commit()
        skipped.flush()
        os.fsync(skipped.fileno())
        progress.write(self.folder / _PROGRESS)
