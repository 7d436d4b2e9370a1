"""Gallery: embeddings, the table of their images, and the fingerprint of their model."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning import __version__
from dccc_lightning.common import checks
from dccc_lightning.common.score_ranges import ABOVE_ALL
from dccc_lightning.gallery.approximate_search import KINDS
from dccc_lightning.gallery.exact_search import NONE
from dccc_lightning.gallery.gallery_search import GallerySearch
from dccc_lightning.gallery.gallery_table import GalleryTable, Hit, Labels, make_table
from dccc_lightning.gallery.manifest import Manifest, damaged
from dccc_lightning.gallery.model_match import check_model
from dccc_lightning.gallery.storage import open_gallery, remove_remains, write_gallery
from dccc_lightning.gallery.turned_search import nearest
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings


class GalleryIndex:
    """Searchable gallery of images; made by ``build`` or ``load``.

    Small galleries are searched exactly. For large ones faiss selects candidates, which are ranked
    by exact scores; ``recall`` is the share that it finds.

    Attributes:
        table: Table of the images.
        fingerprint: Fingerprint of the model that embedded them.
        next_id: Id of the next image; ids of removed images are not used again.
        pattern: Regular expression for cameras and identities in added paths, or None.
        preprocessing: Preprocessing of the images by the model, if known.
        network: Name of the model, see ``Origin.name``; empty if unknown.
    """

    preprocessing: Mapping[str, Any] | None = None
    network: str = ""

    def __init__(
        self,
        table: GalleryTable,
        search: GallerySearch,
        fingerprint: str,
        next_id: int,
        pattern: str | None = None,
    ) -> None:
        self.table = table
        self.fingerprint = fingerprint
        self.next_id = next_id
        self.pattern = pattern
        self._search = search
        self._seen: tuple[Path, Manifest] | None = None  # as last read or written

    @classmethod
    def build(
        cls,
        embeddings: Features,
        paths: Sequence[str | os.PathLike[str]],
        *,
        fingerprint: str,
        kind: str = "auto",
        **labels: Labels | None,
    ) -> "GalleryIndex":
        """Build a gallery.

        Args:
            embeddings: (N, D), NumPy or torch; normalised inside. Of images to compare aligned the
                rows of ``ImageEmbedder.rows``.
            paths: N files, all different.
            fingerprint: Fingerprint of the model that made the embeddings.
            kind: ``auto`` chooses by size and speed, see ``gallery_search``.
            **labels: ``cameras``, ``identities``, ``sessions`` and ``tracklets``: N names or
                numbers each, None or "" or -1 where unknown; a tracklet is one of its camera.

        Raises:
            ValueError: Lengths that do not fit, paths that repeat, embeddings that are not finite,
                an unknown kind, or too few images for it.
            TypeError: Embeddings that are no real numbers.

        >>> index = GalleryIndex.build(np.eye(3), ["a.jpg", "b.jpg", "c.jpg"], fingerprint="x")
        >>> [hit.path for hit in index.search(np.array([[0.1, 0.9, 0.2]]), k=2)[0]]
        ['b.jpg', 'c.jpg']
        """
        checks.choice("kind", kind, ("auto", *KINDS))
        rows = UnitEmbeddings.of(embeddings, "embeddings").rows
        table = make_table(0, len(rows), paths, **labels)
        search = GallerySearch.build(kind, rows, table.ids)
        return cls(table, search, fingerprint, len(table))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def kind(self) -> str:
        """Kind of search: ``flat``, ``ivf``, ``hnsw`` or ``pq``, see ``approximate_search``."""
        return self._search.kind

    @property
    def recall(self) -> float:
        """Share of the 10 nearest images that a search finds, last measured; 1 if flat."""
        return self._search.recall

    @property
    def measured(self) -> dict[str, float]:
        """Measurements for ``kind="auto"``, see ``GallerySearch``; empty after ``load``."""
        return self._search.measured

    def measure_recall(self) -> float:
        """Measure and return ``recall``, with up to 500 images of the gallery as queries."""
        return self._search.measure_recall()

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(N, D) embeddings of length 1, in the order of the table."""
        return self._search.embeddings

    @property
    def feature_dim(self) -> int:
        """Length D of an embedding."""
        return int(self.embeddings.shape[1])

    def check_fingerprint(
        self, fingerprint: str, preprocessing: Mapping[str, Any] | None = None
    ) -> None:
        """Raise a UserError if a model is not this gallery's, since cosines mean nothing then."""
        ours = self.fingerprint, self.preprocessing
        check_model(ours, (fingerprint, preprocessing), self.network)

    def search(
        self,
        embeddings: Features,
        k: int = 10,
        *,
        exclude_camera: object = None,
        exclude_session: object = None,
        minimum_score: float = -1.0,
        fingerprint: str | None = None,
    ) -> list[list[Hit]]:
        """Find the most similar images to each query that pass the filters.

        Args:
            embeddings: (Q, D), NumPy or torch; normalised inside.
            k: Results per query; fewer only if fewer images pass the filters.
            exclude_camera: Camera whose images to exclude, or one per query (Q); unknown cameras
                exclude nothing.
            exclude_session: The same for sessions; for images without a session see
                ``image_list.sighting``.
            minimum_score: Least cosine of a hit; a calibrated threshold may be above 1.
            fingerprint: Fingerprint of the model that made the queries; None skips the check.

        Returns:
            For each query the hits by descending score; equal scores by id.

        Raises:
            UserError: The fingerprint is another model's.
            ValueError: Embeddings of another D or not finite, or an argument out of its range.
        """
        k = min(checks.integer("k", k, 1), max(len(self), 1))
        checks.real("minimum_score", minimum_score, -1.0, ABOVE_ALL)
        queries = self._unit(embeddings, fingerprint)
        columns = self.table.excluded(len(queries), exclude_camera, exclude_session)
        scores, found = nearest(self._search, self.fingerprint, queries, k, *columns)
        return [
            [
                self.table.hit(int(position), float(score))
                for score, position in zip(*rows, strict=True)
                if position != NONE and score >= minimum_score
            ]
            for rows in zip(scores, found, strict=True)
        ]

    def add(
        self,
        embeddings: Features,
        paths: Sequence[str | os.PathLike[str]],
        *,
        fingerprint: str | None = None,
        **labels: Labels | None,
    ) -> NDArray[np.int64]:
        """Add images to the gallery and its index.

        Args:
            embeddings: As for ``build``.
            paths: As for ``build``; none that is in the gallery.
            fingerprint: Fingerprint of the model that made the embeddings; None skips the check.
            **labels: As for ``build``.

        Returns:
            Ids of the images (N,).

        Raises:
            UserError: The fingerprint is another model's.
            ValueError: As ``build``, or a path is in the gallery; nothing is added then.
        """
        rows = self._unit(embeddings, fingerprint)
        table = make_table(self.next_id, len(rows), paths, **labels)
        if known := set(table.paths) & set(self.table.paths):
            raise ValueError(f"paths must be new, {min(known)!r} is in the gallery")
        if len(table):
            self._search.add(rows, table.ids)
            self.table = self.table.joined(table)
            self.next_id += len(table)
        return table.ids

    def remove(self, ids: Iterable[int]) -> int:
        """Remove images and their embeddings.

        Args:
            ids: Ids of the images, from the table.

        Returns:
            Number of removed images.

        Raises:
            TypeError: An id that is not an integer; nothing is removed then.
            ValueError: An id that is not in the gallery; nothing is removed then.
        """
        given = ids.tolist() if hasattr(ids, "tolist") else ids  # arrays and tensors
        leaving = np.unique(np.array([checks.integer("ids", i) for i in given], dtype=np.int64))
        is_leaving = np.isin(self.table.ids, leaving)
        if is_leaving.sum() != leaving.size:
            strange = np.setdiff1d(leaving, self.table.ids)
            raise ValueError(f"ids must be of images in the gallery, got {int(strange[0])}")
        self.table = self.table.select(~is_leaving)
        self._search.remove(is_leaving)
        return int(leaving.size)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the gallery; an existing one is replaced atomically.

        Raises:
            UserError: The folder holds something else, or cannot be written to, or another process
                has changed the gallery since it was read.
        """
        facts, parts = self._search.pack()
        facts |= {
            "written_by": f"dccc-lightning {__version__}",
            "fingerprint": self.fingerprint,
            "images": len(self),
            "next_id": self.next_id,
            "pattern": self.pattern,
            "preprocessing": self.preprocessing,
            "network": self.network,
        }
        parts["table"] = self.table.to_parquet()
        place = Path(folder).resolve()  # by a link it is the same gallery
        expected = self._seen[1] if self._seen is not None and self._seen[0] == place else None
        self._seen = place, write_gallery(Path(folder), facts, parts, expected)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], fingerprint: str | None = None) -> "GalleryIndex":
        """Read a gallery; nothing is unpickled, and the embeddings are memory-mapped.

        While another process changes the gallery, its state before or after the change is read.
        Files left by a killed change are removed.

        Args:
            folder: Folder that ``save`` wrote.
            fingerprint: Fingerprint of the model for the queries; None skips the check.

        Raises:
            UserError: No gallery, or one that is damaged, of another format, or of another model.
        """
        folder = Path(folder)
        with open_gallery(folder) as (facts, files):
            try:
                table = GalleryTable.from_parquet(files["table"].read())
                search = GallerySearch.unpack(facts, files, table.ids)
                newest = int(table.ids.max(initial=-1))
                next_id = checks.integer("next_id", facts["next_id"], newest + 1)
                pattern = facts.get("pattern")
                if not isinstance(pattern, str | None):
                    raise TypeError("its pattern is no text")
                index = cls(table, search, str(facts["fingerprint"]), next_id, pattern)
                index.preprocessing = facts.get("preprocessing")
                index.network = str(facts.get("network", ""))
            except KeyError as error:
                raise damaged(folder, f"it lacks {error.args[0]}") from error
            except (ValueError, TypeError, EOFError, OSError) as error:
                raise damaged(folder, str(error).splitlines()[0] if str(error) else "") from error
        remove_remains(folder)
        index._seen = folder.resolve(), facts
        if fingerprint is not None:
            index.check_fingerprint(fingerprint)
        return index

    def _unit(self, embeddings: Features, fingerprint: str | None) -> NDArray[np.float32]:
        if fingerprint is not None:
            self.check_fingerprint(fingerprint)
        rows = UnitEmbeddings.of(embeddings, "embeddings", may_be_empty=True).rows
        if rows.shape[1] != self.feature_dim:
            raise ValueError(f"embeddings must be (N, {self.feature_dim}), got {rows.shape}")
        return rows
