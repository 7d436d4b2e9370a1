"""Retrieval metrics (mAP, mINP, CMC), re-ranking, identities and the quality of clusters."""

from typing import TYPE_CHECKING

from dccc_lightning.common.public_names import imported_lazily

if TYPE_CHECKING:
    from dccc_lightning.metrics.identity_scores import identity_f1 as identity_f1
    from dccc_lightning.metrics.protocol_scores import evaluate_protocol as evaluate_protocol
    from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval as ReIDRetrieval

_PUBLIC = {
    "ReIDRetrieval": "reid_retrieval",
    "evaluate_protocol": "protocol_scores",
    "identity_f1": "identity_scores",
}

__getattr__, __dir__ = imported_lazily(__name__, _PUBLIC)
