"""Embedding any number of files into a folder: in constant memory, and never twice."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import islice, tee
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from dccc_lightning import __version__
from dccc_lightning.common import checks
from dccc_lightning.common.files import write_atomically
from dccc_lightning.common.progress import announced
from dccc_lightning.data.image_list import ListedImage, read_table, write_table
from dccc_lightning.data.image_stream import Decoded, decoded_batches
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.inference.embedding_file import FORMATS, EmbeddingFile, FileFormat, open_at
from dccc_lightning.inference.embedding_progress import Progress
from dccc_lightning.inference.image_embedder import ImageEmbedder

PARTIAL = ".partial"
"""Folder, inside the output, of what is not complete yet."""

TABLE = "images.parquet"
"""Path, camera and identity of each row of the embeddings."""

SKIPPED = "skipped.jsonl"
"""The images that could not be read, if there are any: place in the list, path, reason."""

MANIFEST = "embeddings.json"
"""What the embeddings are; the last file to appear."""

FORMAT = 1
"""Of the manifest."""

COMMIT_SECONDS = 10.0
"""At most this much work is lost when the process is killed."""


LISTING, PROGRESS = "listing.parquet", "progress.json"


class BulkEmbedding:
    """Embeds a list of files into a folder, and goes on where a killed process stopped.

    The folder holds the embeddings, the table of their rows and a manifest, each of them once all
    is complete; until then there is only ``.partial``.

    Args:
        embedder: Embeds.
        folder: Of the results.
        source: What is listed, in words.
        file_format: Of the embeddings.
        batch_size: Images a step.
        threads: That decode; None for one a core.
        skip_unreadable: List and leave out what cannot be read, instead of an error.
    """

    def __init__(
        self,
        embedder: ImageEmbedder,
        folder: Path,
        source: str,
        file_format: FileFormat = "npy",
        batch_size: int = 256,
        threads: int | None = None,
        skip_unreadable: bool = False,
    ) -> None:
        self.embedder = embedder
        self.folder = folder
        self.work = folder / PARTIAL
        self.request = {
            "source": source,
            "fingerprint": embedder.fingerprint,
            "file_format": checks.choice("format", file_format, FORMATS),
        }
        self.file_format = file_format
        self.name = f"embeddings.{file_format}"
        self.batch_size = checks.integer("batch_size", batch_size, 1)
        self.threads = threads
        self.skip_unreadable = skip_unreadable

    def run(self, images: Callable[[], Iterable[ListedImage]]) -> dict[str, Any]:
        """Embed what is not embedded yet.

        Args:
            images: Lists the images; not called if the list is on disk from an earlier run.

        Returns:
            What the manifest holds.

        Raises:
            UserError: There are no images, the folder holds work for another request, or an image
                cannot be read.
        """
        manifest = self.folder / MANIFEST
        if not manifest.exists():
            progress = self._continued() or self._listed(images)
            if not progress.complete:
                progress = self._finished(self._embedded(progress))
            for name in (self.name, TABLE, SKIPPED, MANIFEST):
                if (self.work / name).exists():
                    (self.work / name).replace(self.folder / name)
        shutil.rmtree(self.work, ignore_errors=True)
        result: dict[str, Any] = json.loads(manifest.read_text())
        self._require_same(result)
        return result

    def _continued(self) -> Progress | None:
        """Return where an earlier process stopped; None if it had not even listed the images."""
        path = self.work / PROGRESS
        if not path.exists():
            return None
        progress = Progress.read(path)
        self._require_same(progress.request)
        return progress

    def _require_same(self, request: Mapping[str, Any]) -> None:
        for key, value in self.request.items():
            if request.get(key) != value:
                raise UserError(
                    f"{self.folder}: was begun with {key} {request.get(key)}, now it is {value}; "
                    "choose another folder"
                )

    def _listed(self, images: Callable[[], Iterable[ListedImage]]) -> Progress:
        """Write the list of the images, which then stays as it is."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        try:
            listed = write_table(self.work / LISTING, images())
            if not listed:
                raise UserError(f"{self.request['source']}: no images")
        except UserError:
            shutil.rmtree(self.work)  # nothing has begun
            raise
        progress = Progress(self.request, listed)
        progress.write(self.work / PROGRESS)
        return progress

    def _embedded(self, progress: Progress) -> Progress:
        """Embed the images from ``progress.done`` on."""
        file = EmbeddingFile(
            self.work / self.name, self.embedder.feature_dim, self.file_format, progress.embedded
        )
        with (
            closing(file),
            open_at(self.work / SKIPPED, progress.skipped_bytes) as skipped,
            announced("embedding", progress.listed, done=progress.done) as phase,
        ):
            saved = started = time.monotonic()
            before = progress.seconds
            try:
                for paths, outcomes in self._batches(progress.done):
                    pixels = self._readable(progress.done, paths, outcomes, skipped)
                    if len(pixels):
                        file.append(self.embedder.embed(pixels, self.batch_size).numpy())
                    now = time.monotonic()
                    # One assignment: whenever an interrupt comes, what is saved below is true.
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
        """Yield the paths from ``start`` on with what was decoded, batch by batch."""
        ours, theirs = tee(row.path for row in read_table(self.work / LISTING, start))
        size = (self.embedder.height, self.embedder.width)
        for outcomes in decoded_batches(theirs, *size, self.batch_size, self.threads):
            yield list(islice(ours, len(outcomes))), outcomes

    def _readable(
        self, start: int, paths: list[str], outcomes: list[Decoded], skipped: BinaryIO
    ) -> Tensor:
        """Return the decoded images of a batch, and list the others."""
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
        """Make sure of the data before the progress that speaks of it."""
        file.commit()
        skipped.flush()
        os.fsync(skipped.fileno())
        progress.write(self.work / PROGRESS)

    def _finished(self, progress: Progress) -> Progress:
        """Write what can only be written at the end."""
        if not progress.embedded:
            raise UserError(
                f"{self.request['source']}: none of the {progress.listed} images can be read"
            )
        origin = self.embedder.origin
        manifest = {
            "format": FORMAT,
            "images": progress.embedded,
            "skipped": progress.listed - progress.embedded,
            "feature_dim": self.embedder.feature_dim,
            "height": self.embedder.height,
            "width": self.embedder.width,
            "checkpoint": origin.path,
            "network": origin.network,
            "version": __version__,
            "seconds": round(progress.seconds, 1),
            **self.request,
        }
        about = {key: str(manifest[key]) for key in ("fingerprint", "version", "feature_dim")}
        file = EmbeddingFile(
            self.work / self.name, self.embedder.feature_dim, self.file_format, progress.embedded
        )
        with closing(file):
            file.finish(about)
        write_table(self.work / TABLE, self._kept(), about)
        if not progress.skipped_bytes:
            (self.work / SKIPPED).unlink()
        write_atomically(self.work / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
        progress = replace(progress, complete=True)
        progress.write(self.work / PROGRESS)
        return progress

    def _kept(self) -> Iterator[ListedImage]:
        """Yield the rows of the list that were not skipped; both are in the same order."""
        with (self.work / SKIPPED).open() as lines:
            skipped = (json.loads(line)["index"] for line in lines)
            absent = next(skipped, None)
            for index, row in enumerate(read_table(self.work / LISTING)):
                if index == absent:
                    absent = next(skipped, None)
                else:
                    yield row
