"""Images of ``task=identify``: new ones, and those of earlier identities."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common import collectives
from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.common.faults import explain_failures
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.data.image_list import ListedImage
from dccc_lightning.data.image_table import LABELS, SUFFIXES, ImageTable, read_image_table
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.identities.identity_table import Known, read_known
from dccc_lightning.inference.bulk_embedding import BulkEmbedding
from dccc_lightning.tasks.gallery_inputs import embedded_before, listed_images, loaded_embedder
from dccc_lightning.tasks.inputs import batch_size_of, path_of, skips_unreadable, threads_of
from dccc_lightning.tasks.path_labels import DISTRACTOR, PathLabels

WORK = "embedding"
"""Folder of the embeddings of new images in the output, until the identities are written."""

Rows = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images to identify with their labels.

    Attributes:
        paths: N absolute paths, all different.
        columns: Labels by name, N each, None where unknown; ``identity`` is the true one.
        fingerprint: Network of the embeddings.
    """

    paths: list[str]
    columns: dict[str, list[str | None]]
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Images(Labelled):
    """Embedded images, in the order of their paths.

    Attributes:
        rows: (N, D) embeddings.
        known: Identities found before; None if there are none.
        new: Number of images that are not in ``known``.
    """

    rows: Rows
    known: Known | None
    new: int


Check = Callable[[Known | None, Labelled], object]
"""Function that raises errors which images with labels, not yet embedded, show already."""


def collect(settings: Settings, output: Path, check: Check) -> Images:
    """Gather embeddings and labels of all images.

    Args:
        settings: Composed configuration.
        output: Folder of the embeddings while they are made.
        check: Called before images are embedded.

    Raises:
        UserError: An input is invalid, an image is unreadable, or embeddings are of two networks.
    """
    known = None if settings["known"] is None else read_known(path_of(settings, "known"))
    kept = _kept(known, settings["remove"])
    paths_known = [] if known is None else known.images.paths
    left = {paths_known[i] for i in kept}
    removed = set(paths_known) - left
    skipped = removed | (set() if known is None or known.embeddings is None else left)
    table = None if settings["table"] is None else read_image_table(path_of(settings, "table"))

    def labelled(
        fingerprint: str, listed: Sequence[ListedImage], source: ImageTable | None
    ) -> tuple[list[int], Labelled]:
        """Return the positions of new images, and these and the known ones with their labels."""
        given = [os.path.abspath(image.path) for image in listed]  # noqa: PTH100  (without ..)
        fresh = [n for n, path in enumerate(given) if path not in skipped]
        if known is not None and known.embeddings is not None:
            if listed and fingerprint != known.fingerprint:
                raise UserError(
                    f"known={settings['known']}: embedded by the model {known.fingerprint}, the "
                    f"new images by {fingerprint}; use that model, or give known= the "
                    "identities.csv and all images"
                )
            fingerprint = known.fingerprint
        columns: dict[str, list[str | None]] = {
            name: [getattr(listed[n], name, None) or None for n in fresh] for name in LABELS
        }
        columns["identity"] = [None if v == DISTRACTOR else v for v in columns["identity"]]
        paths = [given[n] for n in fresh]
        for labels in (source, table):
            _fill(columns, paths, labels)
        if known is not None and known.embeddings is not None:
            paths += [paths_known[i] for i in kept]
            for name, cells in columns.items():
                own = known.images.columns.get(name) if name != "identity" else None
                cells += [own[i] if own else None for i in kept]
        return fresh, Labelled(paths, columns, fingerprint)

    def early(fingerprint: str, listed: Sequence[ListedImage], source: ImageTable | None) -> None:
        check(known, labelled(fingerprint, listed, source)[1])

    fingerprint, listed, rows, listed_in = _new_images(settings, output, skipped, early)
    fresh, found = labelled(fingerprint, listed, listed_in)
    if len(fresh) < len(listed):
        CONSOLE.print(f"already in known: {counted(len(listed) - len(fresh), 'image')}")
    parts = [np.asarray(rows[fresh])] if fresh else []
    paths, columns = found.paths, found.columns
    if known is not None and known.embeddings is not None:
        parts.append(known.embeddings[kept])
    elif known is not None and (absent := len(left - set(paths))):
        CONSOLE.print(
            f"note: {absent:,} of {counted(len(paths_known), 'image')} of "
            f"known={settings['known']} are not in input= or index=, and are left out"
        )
    if not paths and settings["remove"] is not None:
        raise UserError(
            f"remove={settings['remove']}: no image of known={settings['known']} would be left"
        )
    if not paths:
        raise UserError("no images: input= names new ones, index= those of a gallery")
    order = sorted(range(len(paths)), key=paths.__getitem__)
    return Images(
        [paths[n] for n in order],
        {name: [cells[n] for n in order] for name, cells in columns.items()},
        found.fingerprint,
        np.concatenate(parts)[order],
        known,
        len(fresh),
    )


def _fill(
    columns: dict[str, list[str | None]], paths: Sequence[str], table: ImageTable | None
) -> None:
    """Replace labels by those of a table, matched by path."""
    if table is None:
        return
    rows = table.rows(paths)
    for name, cells in table.columns.items():
        columns[name] = [cells[row] for row in rows]


def _kept(known: Known | None, remove: Any) -> list[int]:
    """Return the positions of the known images that are not to be removed."""
    if known is None:
        return []
    entries = [] if remove is None else remove if isinstance(remove, list) else [remove]
    gone: set[int] = set()
    for entry in map(str, entries):
        path = str(Path(entry).expanduser().absolute())
        own = {
            n
            for n, (image, identity) in enumerate(
                zip(known.images.paths, known.identities, strict=True)
            )
            if identity == entry or image == path or image.startswith(f"{path}/")
        }
        if not own:
            raise UserError(f"remove={entry}: no known image has this path, folder or identity")
        gone |= own
    return [n for n in range(len(known.images.paths)) if n not in gone]


def _new_images(
    settings: Settings,
    output: Path,
    carried: set[str],
    check: Callable[[str, Sequence[ListedImage], ImageTable | None], None],
) -> tuple[str, list[ListedImage], Any, ImageTable | None]:
    """Return fingerprint, images and embeddings that are not in ``known``, and their table."""
    if settings["index"] is not None:
        gallery = GalleryIndex.load(path_of(settings, "index"))
        table = gallery.table
        names = zip(*table.columns[1:], strict=True)
        return gallery.fingerprint, list(starmap(ListedImage, names)), gallery.embeddings, None
    if settings["input"] is None:
        return "", [], np.empty((0, 0), dtype=np.float32), None
    place, labels = settings["input"], PathLabels(settings)
    if not isinstance(place, list):
        before = embedded_before(path_of(settings, "input"), labels)
        if before is not None:
            return before.fingerprint, before.images, before.rows, None
    listed_in = None
    if not isinstance(place, list) and Path(str(place)).suffix.lower() in SUFFIXES:
        listed_in = read_image_table(path_of(settings, "input"))

    def images() -> list[ListedImage]:
        if listed_in is not None:
            found = [ListedImage(path) for path in listed_in.paths]
        else:
            found = listed_images(settings, "input", labels)
        by_path = {os.path.abspath(image.path): image for image in found}  # noqa: PTH100
        new = [by_path[path] for path in sorted(by_path) if path not in carried]
        if len(new) < len(found):
            CONSOLE.print(f"already in known: {counted(len(found) - len(new), 'image')}")
        return new

    embedder = loaded_embedder(settings)
    bulk = BulkEmbedding(
        embedder,
        output / WORK,
        f"input={place}",
        batch_size=batch_size_of(settings),
        threads=threads_of(settings),
        skip_unreadable=skips_unreadable(settings["dataset"]["on_error"]),
    )
    chosen = collectives.from_first(lambda: bulk.listed_before() or images())
    if carried and not chosen:
        return embedder.fingerprint, [], np.empty((0, embedder.row_dim), dtype=np.float32), None
    check(embedder.fingerprint, chosen, listed_in)
    try:
        with explain_failures(output):
            bulk.run(lambda: chosen)
    except UnreadableImageError as error:
        again = path_argument("resume", output)
        raise UserError(
            f"{error}; remove it, or {again} dataset.on_error=skip continues without it"
        ) from error
    except UserError:
        if not any((output / WORK).rglob("*")):
            shutil.rmtree(output / WORK, ignore_errors=True)
        raise
    found = embedded_before(output / WORK, PathLabels({**settings, "pattern": False}))
    assert found is not None  # the manifest was just written
    return found.fingerprint, found.images, found.rows, listed_in
