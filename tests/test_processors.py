"""The same answers on every processor: sorting must not leave ties to its vector unit.

NumPy sorts by AVX-512, AVX2 or neither, by the processor, and each leaves equal numbers in another
order unless it is told to be stable; products are rounded otherwise. One process without these
units stands for the other processors.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import dccc_lightning
from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.clustering.experimental.adaptive import CRITERIA, AdaptiveSchedule
from dccc_lightning.clustering.experimental.attachment import attach
from dccc_lightning.clustering.experimental.core_distances import core_distances
from dccc_lightning.clustering.experimental.hdbscan import HDBSCAN
from dccc_lightning.clustering.experimental.single_linkage import SingleLinkage
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.data.sampler import draw_batches
from dccc_lightning.gallery.calibration import calibrate
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.metrics import cluster_quality
from dccc_lightning.metrics.reranking import Rerank
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.neighbors.nearest import knn

WITHOUT_VECTORS = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Nehalem",  # products of NumPy and SciPy
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",  # of torch
    "ATEN_CPU_CAPABILITY": "default",
    "FAISS_OPT_LEVEL": "generic",
}


def tied(n=600, dim=6, seed=0):
    """Embeddings of which many are equal, or as far from a third as each other, and two labels."""
    rng = np.random.default_rng(seed)
    people, cameras = rng.integers(60, size=n), rng.integers(4, size=n)
    centres = rng.integers(-1, 2, (60, dim)) * 2
    rows = centres[people] + rng.integers(-1, 2, (n, dim))
    rows[(rows == 0).all(axis=1)] = 1
    return rows.astype(np.float32), people, cameras


def answers():
    """What sorts, cuts or picks, on embeddings full of ties: labels, neighbours, hits, scores."""
    rows, people, cameras = tied()
    graph = jaccard_graph(rows, 12, 4, 0.8)
    labels = {type(a).__name__: a.fit_predict(graph, 0.6)
              for a in (DBSCAN(), SingleLinkage(), HDBSCAN(), HDBSCAN(8, 6))}  # fmt: skip
    split = slice(0, 100), slice(100, None)
    (queries, gallery), (who, known), (here, there) = (
        [part[s] for s in split] for part in (rows, people, cameras)
    )
    index = GalleryIndex.build(gallery, [str(i) for i in range(len(gallery))], fingerprint="x")
    found = {
        **labels,
        "nearest": knn(rows, 12)[1],
        "core": core_distances(graph, 5).astype(np.float64),
        "attached": attach(labels["DBSCAN"], rows),
        "kept": [cluster_quality.churn(labels["DBSCAN"], labels["HDBSCAN"])],
        "batch": draw_batches(labels["DBSCAN"], cameras, 4, 4, 3, 0, 0),
        "hits": [[hit.id for hit in hits] for hits in index.search(queries, 9)],
        "threshold": [round(calibrate(rows, people, cameras, 0.01).threshold, 6)],
    }
    for criterion in CRITERIA:
        schedule = AdaptiveSchedule(criterion=criterion, neighbors=5)
        found[criterion] = [schedule.choose(graph, DBSCAN(), 0).eps]
    for name, rerank in (("cosine", None), ("reranked", Rerank(12, 4))):
        scores = evaluate_retrieval(queries, who, here, gallery, known, there, rerank=rerank)
        found[name] = [float(score) for score in scores.values()]
    return {name: np.asarray(value).tolist() for name, value in found.items()}


def test_a_processor_without_vector_units_gives_the_same_answers():
    code = "import json, test_processors; print(json.dumps(test_processors.answers()))"
    tests, source = Path(__file__).parent, Path(dccc_lightning.__file__).parents[1]
    paths = [str(tests), str(source), os.environ.get("PYTHONPATH", "")]
    there = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
        env=os.environ | WITHOUT_VECTORS | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    here = answers()
    other = json.loads(there.communicate()[0])
    assert [name for name in here if here[name] != other[name]] == []
