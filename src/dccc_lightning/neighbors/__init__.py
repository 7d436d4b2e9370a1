"""Nearest neighbours of embeddings, shared by clustering, metrics and gallery."""

from typing import TYPE_CHECKING

from dccc_lightning.common.public_names import imported_lazily

if TYPE_CHECKING:
    from dccc_lightning.neighbors.aligned import aligned_similarity as aligned_similarity
    from dccc_lightning.neighbors.embeddings import UnitEmbeddings as UnitEmbeddings
    from dccc_lightning.neighbors.nearest import knn as knn

__getattr__, __dir__ = imported_lazily(
    __name__,
    {"UnitEmbeddings": "embeddings", "aligned_similarity": "aligned", "knn": "nearest"},
)
