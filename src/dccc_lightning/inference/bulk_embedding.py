"""Resumable embedding of any number of files into a folder, in constant memory."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from dccc_lightning import __version__
from dccc_lightning.common import checks, collectives
from dccc_lightning.common.files import write_json
from dccc_lightning.data.image_list import ListedImage, read_table, write_table
from dccc_lightning.errors import UserError
from dccc_lightning.inference.embedding_file import FORMATS, FileFormat
from dccc_lightning.inference.embedding_progress import Plan, Progress
from dccc_lightning.inference.embedding_share import SKIPPED, EmbeddingShare
from dccc_lightning.inference.image_embedder import ImageEmbedder

PARTIAL = ".partial"
"""Subfolder of the output for incomplete files."""

TABLE = "images.parquet"
"""Table of path, camera and identity of each row of the embeddings."""

MANIFEST = "embeddings.json"
"""Description of the embeddings, written last."""

FORMAT = 1
"""Version of the manifest."""

LISTING, PLAN = "listing.parquet", "plan.json"


class BulkEmbedding:
    """Embedding of a list of files into a folder, which resumes after an interruption.

    The embeddings, the table of their rows and the manifest appear in the folder once all are
    complete; until then they are in ``.partial``. In a process group each process embeds a share,
    in whole batches, so that the rows do not depend on the number of processes; an interrupted
    embedding keeps its shares, whatever the number of processes that continue it.

    Args:
        embedder: Network with its preprocessing.
        folder: Output folder.
        source: Description of the images.
        file_format: Format of the embeddings.
        batch_size: Number of images per step.
        threads: Number of decoding threads; None for one per core.
        skip_unreadable: Skip and list unreadable images instead of raising an error.
        part: (i, n) to embed only the i-th of n parts of the list, from 1.
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
        part: tuple[int, int] | None = None,
    ) -> None:
        self.embedder = embedder
        self.folder = folder
        self.work = folder / PARTIAL
        self.request = {
            "source": source,
            "fingerprint": embedder.fingerprint,
            "file_format": checks.choice("format", file_format, FORMATS),
        } | ({} if part is None else {"part": f"{part[0]}/{part[1]}"})
        self.file_format = file_format
        self.batch_size = checks.integer("batch_size", batch_size, 1)
        self.threads = threads
        self.skip_unreadable = skip_unreadable
        self.part = part

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
            ShareDone: This is not rank 0, which goes on.
        """
        plan = collectives.from_first(lambda: self._planned(images))
        if plan is not None and not plan.complete:
            shares = self._shares(plan)
            rank, processes = collectives.world()
            done = collectives.shared(lambda: [own.embed() for own in shares[rank::processes]])
            if done is not None:
                progress = [done[n % processes][n // processes] for n in range(len(shares))]
                self._finish(plan, shares, progress)
        collectives.leave_to_first()
        place(self.work, self.folder, f"embeddings.{self.file_format}")
        result: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text())
        self._require_same(result)
        return result

    def listed_before(self) -> list[ListedImage]:
        """Return the images of an interrupted run, which ``run`` goes on with; empty without one.

        Raises:
            UserError: The folder belongs to another request.
        """
        if (self.folder / MANIFEST).exists():
            return list(read_table(self.folder / TABLE))
        if not (self.work / PLAN).exists():
            return []
        self._require_same(Plan.read(self.work / PLAN).request)
        return list(read_table(self.work / LISTING))

    def _planned(self, images: Callable[[], Iterable[ListedImage]]) -> Plan | None:
        """Return the plan, written first if there is none; None if the embedding is finished."""
        path = self.work / PLAN
        if (self.folder / MANIFEST).exists():
            return None
        if not path.exists():
            return self._listed(images)
        plan = Plan.read(path)
        self._require_same(plan.request)
        return plan

    def _require_same(self, request: Mapping[str, Any]) -> None:
        for key in sorted({*self.request, *({"part"} & set(request))}):
            if request.get(key) != self.request.get(key):
                raise UserError(
                    f"{self.folder}: was started with {key} {request.get(key)}, now it is "
                    f"{self.request.get(key)}; choose another folder"
                )

    def _listed(self, images: Callable[[], Iterable[ListedImage]]) -> Plan:
        """Write the list of images and its division, which are fixed from then on."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        digest = sha256()

        def read() -> Iterator[ListedImage]:
            for image in images():
                digest.update("\0".join((*image, "\n")).encode(errors="surrogateescape"))
                yield image

        try:
            listed = write_table(self.work / LISTING, read())
            if not listed:
                raise UserError(f"{self.request['source']}: no images")
        except UserError:
            shutil.rmtree(self.work)  # no image was embedded
            raise
        number, parts = self.part or (1, 1)
        part = collectives.batch_shard(listed, self.batch_size, number - 1, parts)
        processes = collectives.world()[1]
        shares = [
            collectives.batch_shard(len(part), self.batch_size, rank, processes)
            for rank in range(processes)
        ]
        bounds = [part.start + start for start in (0, *(share.stop for share in shares))]
        plan = Plan(self.request, listed, digest.hexdigest(), bounds)
        plan.write(self.work / PLAN)
        return plan

    def _shares(self, plan: Plan) -> list[EmbeddingShare]:
        """Return the shares of the plan; a single one is at the place of the result."""
        spans = [range(*ends) for ends in zip(plan.bounds, plan.bounds[1:], strict=False)]
        return [
            self._share(span, self.work if len(spans) == 1 else self.work / f"share_{number}")
            for number, span in enumerate(spans)
        ]

    def _share(self, positions: range, folder: Path) -> EmbeddingShare:
        return EmbeddingShare(
            self.embedder,
            self.work / LISTING,
            positions,
            folder,
            self.file_format,
            self.batch_size,
            self.threads,
            self.skip_unreadable,
        )

    def _finish(
        self, plan: Plan, shares: Sequence[EmbeddingShare], progress: Sequence[Progress]
    ) -> None:
        """Join the shares and write table, headers and manifest, which need the number of rows."""
        embedded = sum(share.embedded for share in progress)
        if not embedded and self.part is None:
            raise UserError(
                f"{self.request['source']}: none of the {plan.listed} images can be read"
            )
        manifest = self._manifest(plan, embedded, max(share.seconds for share in progress))
        whole = self._share(plan.images, self.work)
        with closing(whole.open(embedded if len(shares) == 1 else 0)) as file:
            if len(shares) > 1:
                for share, own in zip(shares, progress, strict=True):
                    file.append_file(share.embeddings, own.embedded)
            file.finish(stored_about(manifest))
        if len(shares) > 1:
            join_lists([share.skipped for share in shares], whole.skipped)
        write_table(self.work / TABLE, self._kept(plan), stored_about(manifest))
        if not whole.skipped.stat().st_size:
            whole.skipped.unlink()
        write_json(self.work / MANIFEST, manifest)
        replace(plan, complete=True).write(self.work / PLAN)

    def _manifest(self, plan: Plan, embedded: int, seconds: float) -> dict[str, Any]:
        origin, images = self.embedder.origin, plan.images
        manifest = {
            "format": FORMAT,
            "images": embedded,
            "skipped": len(images) - embedded,
            "feature_dim": self.embedder.row_dim,
            "height": self.embedder.height,
            "width": self.embedder.width,
            "preprocessing": self.embedder.preprocessing,
            "checkpoint": origin.path,
            "network": origin.network,
            "version": __version__,
            "seconds": round(seconds, 1),
            **self.request,
        }
        if self.part is not None:
            manifest["of_list"] = {
                "images": plan.listed,
                "sha256": plan.sha256,
                "start": images.start,
                "stop": images.stop,
            }
        return manifest

    def _kept(self, plan: Plan) -> Iterator[ListedImage]:
        """Yield the rows of the list that were not skipped; both lists have the same order."""
        listed = islice(read_table(self.work / LISTING, plan.images.start), len(plan.images))
        with (self.work / SKIPPED).open() as lines:
            skipped = (json.loads(line)["index"] for line in lines)
            absent = next(skipped, None)
            for index, row in zip(plan.images, listed, strict=True):
                if index == absent:
                    absent = next(skipped, None)
                else:
                    yield row


def stored_about(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return what the files themselves tell of their manifest."""
    return {key: str(manifest[key]) for key in ("fingerprint", "version", "feature_dim")}


def join_lists(lists: Sequence[Path], target: Path) -> None:
    """Write lists of unreadable images into one."""
    with target.open("wb") as joined:
        for path in lists:
            if path.exists():
                with path.open("rb") as file:
                    shutil.copyfileobj(file, joined)


def place(work: Path, folder: Path, embeddings: str) -> None:
    """Move complete files to the output folder, the manifest last."""
    if not (folder / MANIFEST).exists():
        for name in (embeddings, TABLE, SKIPPED, MANIFEST):
            if (work / name).exists():
                (work / name).replace(folder / name)
    shutil.rmtree(work, ignore_errors=True)
