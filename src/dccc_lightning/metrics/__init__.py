"""Retrieval metrics (mAP, mINP, CMC), re-ranking, and the quality of clusters."""

from typing import TYPE_CHECKING

from dccc_lightning.common.public_names import imported_lazily

if TYPE_CHECKING:
    from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval as ReIDRetrieval

__getattr__, __dir__ = imported_lazily(__name__, {"ReIDRetrieval": "reid_retrieval"})
