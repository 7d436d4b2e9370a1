"""Approximate search of large galleries: faiss indexes that return candidates.

Exact scores rank the candidates, so the only error is an image missed now and then, which is
measured (``GalleryIndex.recall``).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common import checks, progress

faiss: Any = _faiss  # its annotations are incomplete

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

KINDS = ("flat", "ivf", "hnsw", "pq")
FLAT_UP_TO = 100_000
"""Most images of a gallery whose every image is compared with the query."""

IVF_UP_TO = 1_000_000
"""Most images of an inverted file of whole embeddings; larger ones compress them."""

_FEWEST = {"ivf": 100, "hnsw": 1, "pq": 256}
_LISTS = 4.0  # per square root of N: as many centres as list members to compare
_PER_LIST = 40  # least mean number of images; faiss warns below 39
_TRAINING = 64  # points per centre for k-means
_LINKS = 32  # per image in the HNSW graph
_FIRST_BREADTH = {"ivf": 8, "hnsw": 32, "pq": 8}
_MOST_LINKS_FOLLOWED = 1024
_DIMENSIONS_A_BYTE = 8
_ADDED = 1 << 14  # images per call; the result does not depend on it
_READING = Lock()
_COARSE = 8  # factor on the number of candidates from compressed embeddings


def pick_kind(images: int) -> str:
    """Return the default kind for a gallery of this size; never HNSW.

    An HNSW graph finds more in the same time, but holds a second copy of all embeddings in memory,
    takes many times longer to build (on one core, because a parallel build differs from run to
    run), and cannot remove images.
    """
    return "flat" if images <= FLAT_UP_TO else "ivf" if images <= IVF_UP_TO else "pq"


class CandidateIndex:
    """faiss index of embeddings of length 1, by the ids of their images.

    Args:
        kind: ``ivf`` (inverted file: k-means lists, of which the nearest ``breadth`` are searched),
            ``pq`` (the same with embeddings compressed to D / 8 bytes by product quantisation) or
            ``hnsw`` (a graph of near images, of which ``breadth`` are followed).
        index: faiss index.
        breadth: Breadth of the search: higher is slower and more complete.
    """

    def __init__(self, kind: str, index: Any, breadth: int) -> None:
        self.kind = checks.choice("kind", kind, KINDS[1:])
        self.index = index
        self.breadth = checks.integer("breadth", breadth, 1)

    @classmethod
    def build(cls, kind: str, rows: Floats, ids: Ints) -> "CandidateIndex":
        """Build the index, deterministically.

        Raises:
            ValueError: ``kind`` is unknown or needs more rows.
        """
        checks.choice("kind", kind, KINDS[1:])
        n, dim = rows.shape
        if n < _FEWEST[kind]:
            raise ValueError(f"kind={kind} needs at least {_FEWEST[kind]} images, got {n}; "
                             "use kind=flat")  # fmt: skip
        if kind == "hnsw":
            made = cls(kind, faiss.index_factory(dim, f"IDMap2,HNSW{_LINKS},Flat"), 1)
        else:
            lists = max(1, min(int(_LISTS * math.sqrt(n)), n // _PER_LIST))
            storage = "Flat" if kind == "ivf" else f"PQ{_bytes(dim)}"
            index = faiss.index_factory(dim, f"IVF{lists},{storage}")
            index.cp.max_points_per_centroid = _TRAINING
            if kind == "pq":
                index.pq.cp.max_points_per_centroid = _TRAINING
                # Below 39 points per centre faiss warns on the terminal; the recall is measured.
                index.pq.cp.min_points_per_centroid = 1
            with progress.announced("training the index"):
                index.train(rows)
            made = cls(kind, index, 1)
        made.breadth = min(_FIRST_BREADTH[kind], made.most)
        made.add(rows, ids)
        return made

    @property
    def most(self) -> int:
        """Largest useful breadth."""
        return _MOST_LINKS_FOLLOWED if self.kind == "hnsw" else int(self.index.nlist)

    def add(self, rows: Floats, ids: Ints) -> None:
        """Add images."""
        # A graph that grows in parts would be a different one.
        size = max(1, len(rows)) if self.kind == "hnsw" else _ADDED
        with _one_thread(self.kind == "hnsw"):
            for part in progress.blocks("building the index", len(rows), size):
                self.index.add_with_ids(rows[part], ids[part])

    def remove(self, ids: Ints, staying: Ints) -> None:
        """Remove images and their embeddings.

        Args:
            ids: Ids of the images to remove.
            staying: Ids of the other images.
        """
        if self.kind != "hnsw":
            self.index.remove_ids(ids)
            return
        # The graph cannot remove a node. It gets the embedding of the nearest other image, and no
        # search returns it, because every search passes the ids of the remaining images.
        graph = faiss.downcast_index(self.index.index)
        storage = faiss.downcast_index(graph.storage)
        rows = faiss.rev_swig_ptr(storage.get_xb(), graph.ntotal * graph.d).reshape(-1, graph.d)
        known = faiss.vector_to_array(self.index.id_map)
        places = np.searchsorted(known, ids)
        nearest = self.candidates(rows[places].copy(), 1, staying)[:, 0]
        rows[places] = 0.0
        found = nearest >= 0
        rows[places[found]] = rows[np.searchsorted(known, nearest[found])]

    def candidates(self, queries: Floats, wanted: int, allowed: Ints) -> Ints:
        """Return the ids of candidates for the ``wanted`` nearest images of each query.

        Args:
            queries: (Q, D) of length 1.
            wanted: Number of nearest images.
            allowed: Ids to search among.

        Returns:
            (Q, m) ids, m >= ``wanted``, padded with -1.
        """
        mask = np.zeros(int(allowed[-1]) + 1 if allowed.size else 1, dtype=np.bool_)
        mask[allowed] = True
        chosen = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        width = wanted * _COARSE if self.kind == "pq" else wanted
        width = max(wanted, min(width, self.index.ntotal))
        if self.kind == "hnsw":
            options = faiss.SearchParametersHNSW(sel=chosen, efSearch=max(self.breadth, width))
        else:
            options = faiss.SearchParametersIVF(sel=chosen, nprobe=self.breadth)
        ids: Ints = self.index.search(queries, width, params=options)[1]
        return ids

    def to_bytes(self) -> bytes:
        """Return the index in faiss's file format."""
        content: bytes = faiss.serialize_index(self.index).tobytes()
        return content

    @classmethod
    def from_bytes(cls, kind: str, content: bytes, breadth: int, dim: int) -> "CandidateIndex":
        """Read the result of ``to_bytes``.

        Raises:
            ValueError: The content is damaged, or of another kind or another D.
        """
        lists = len(content) // (4 * dim)  # bound: each list has its centre in the file
        # For PQ, faiss allocates a table per list that is not in the file.
        size = 4 * 256 * _bytes(dim) * lists if kind == "pq" else 0
        try:
            with _bounded(lists, max(size, len(content))):
                index = faiss.deserialize_index(np.frombuffer(content, dtype=np.uint8))
        except RuntimeError as error:
            raise ValueError("faiss cannot read its part") from error
        expected = {"ivf": "IndexIVFFlat", "hnsw": "IndexIDMap2", "pq": "IndexIVFPQ"}
        if type(index).__name__ != expected.get(kind) or index.d != dim:
            raise ValueError(f"faiss's part is not that of a {kind} gallery of D = {dim}")
        return cls(kind, index, breadth)


def _bytes(dim: int) -> int:
    """Return the bytes per compressed embedding: the largest divisor of D up to D / 8."""
    most = max(1, dim // _DIMENSIONS_A_BYTE)
    return next(size for size in range(most, 0, -1) if dim % size == 0)


@contextmanager
def _one_thread(wanted: bool) -> Iterator[None]:
    """Limit faiss to one thread, so that the growth of a graph does not depend on timing."""
    threads = faiss.omp_get_max_threads()
    if wanted:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


@contextmanager
def _bounded(loops: int, size: int) -> Iterator[None]:
    """Limit the loops and the size of allocations of faiss while it reads a file."""
    limits = {"loop": loops, "vector_byte": size + 1}
    with _READING:  # the limits are global
        before = {name: getattr(faiss, f"get_deserialization_{name}_limit")() for name in limits}
        try:
            for name, limit in limits.items():
                getattr(faiss, f"set_deserialization_{name}_limit")(limit)
            yield
        finally:
            for name, limit in before.items():
                getattr(faiss, f"set_deserialization_{name}_limit")(limit)
