"""Resumable embedding of any number of files into a folder, in constant memory."""

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
from dccc_lightning.common.files import write_json
from dccc_lightning.common.progress import announced
from dccc_lightning.data.image_list import ListedImage, read_table, write_table
from dccc_lightning.data.image_stream import Decoded
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.inference.embedding_file import FORMATS, EmbeddingFile, FileFormat, open_at
from dccc_lightning.inference.embedding_progress import Progress
from dccc_lightning.inference.image_embedder import ImageEmbedder

PARTIAL = ".partial"
"""Subfolder of the output for incomplete files."""

TABLE = "images.parquet"
"""Table of path, camera and identity of each row of the embeddings."""

SKIPPED = "skipped.jsonl"
"""List of unreadable images, if any: position in the list, path, reason."""

MANIFEST = "embeddings.json"
"""Description of the embeddings, written last."""

FORMAT = 1
"""Version of the manifest."""

COMMIT_SECONDS = 10.0
"""Interval of commits: the most work that a killed process loses."""


LISTING, PROGRESS = "listing.parquet", "progress.json"


class BulkEmbedding:
    """Embedding of a list of files into a folder, which resumes after an interruption.

    The embeddings, the table of their rows and the manifest appear in the folder once all are
    complete; until then they are in ``.partial``.

    Args:
        embedder: Network with its preprocessing.
        folder: Output folder.
        source: Description of the images.
        file_format: Format of the embeddings.
        batch_size: Number of images per step.
        threads: Number of decoding threads; None for one per core.
        skip_unreadable: Skip and list unreadable images instead of raising an error.
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
        """Embed the images that are not embedded yet.

        Args:
            images: Function that lists the images; not called if the list of an interrupted run is
                in the folder.

        Returns:
            The content of the manifest.

        Raises:
            UserError: There are no images, the folder belongs to another request, or an image
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

    def listed_before(self) -> list[ListedImage]:
        """Return the images of an interrupted run, which ``run`` goes on with; empty without one.

        Raises:
            UserError: The folder belongs to another request.
        """
        if (self.folder / MANIFEST).exists():
            return list(read_table(self.folder / TABLE))
        return list(read_table(self.work / LISTING)) if self._continued() else []

    def _continued(self) -> Progress | None:
        """Return the progress of an interrupted run; None if it had not listed its images."""
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
                    f"{self.folder}: was started with {key} {request.get(key)}, now it is {value}; "
                    "choose another folder"
                )

    def _listed(self, images: Callable[[], Iterable[ListedImage]]) -> Progress:
        """Write the list of images, which is fixed from then on."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        try:
            listed = write_table(self.work / LISTING, images())
            if not listed:
                raise UserError(f"{self.request['source']}: no images")
        except UserError:
            shutil.rmtree(self.work)  # no image was embedded
            raise
        progress = Progress(self.request, listed)
        progress.write(self.work / PROGRESS)
        return progress

    def _embedded(self, progress: Progress) -> Progress:
        """Embed the images after the first ``progress.done``."""
        file = EmbeddingFile(
            self.work / self.name, self.embedder.row_dim, self.file_format, progress.embedded
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
        ours, theirs = tee(row.path for row in read_table(self.work / LISTING, start))
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
        progress.write(self.work / PROGRESS)

    def _finished(self, progress: Progress) -> Progress:
        """Write the table, headers and manifest, which need the number of rows."""
        if not progress.embedded:
            raise UserError(
                f"{self.request['source']}: none of the {progress.listed} images can be read"
            )
        origin = self.embedder.origin
        manifest = {
            "format": FORMAT,
            "images": progress.embedded,
            "skipped": progress.listed - progress.embedded,
            "feature_dim": self.embedder.row_dim,
            "height": self.embedder.height,
            "width": self.embedder.width,
            "preprocessing": self.embedder.preprocessing,
            "checkpoint": origin.path,
            "network": origin.network,
            "version": __version__,
            "seconds": round(progress.seconds, 1),
            **self.request,
        }
        about = {key: str(manifest[key]) for key in ("fingerprint", "version", "feature_dim")}
        file = EmbeddingFile(
            self.work / self.name, self.embedder.row_dim, self.file_format, progress.embedded
        )
        with closing(file):
            file.finish(about)
        write_table(self.work / TABLE, self._kept(), about)
        if not progress.skipped_bytes:
            (self.work / SKIPPED).unlink()
        write_json(self.work / MANIFEST, manifest)
        progress = replace(progress, complete=True)
        progress.write(self.work / PROGRESS)
        return progress

    def _kept(self) -> Iterator[ListedImage]:
        """Yield the rows of the list that were not skipped; both lists have the same order."""
        with (self.work / SKIPPED).open() as lines:
            skipped = (json.loads(line)["index"] for line in lines)
            absent = next(skipped, None)
            for index, row in enumerate(read_table(self.work / LISTING)):
                if index == absent:
                    absent = next(skipped, None)
                else:
                    yield row
