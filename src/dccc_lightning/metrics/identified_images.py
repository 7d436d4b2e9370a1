"""Agreement of identities that were found with the true ones, image by image."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from dccc_lightning.metrics import cluster_quality


def identification_f1(found: ArrayLike, true: ArrayLike) -> float:
    """Return the share of images whose identity is the one matched to their true identity.

    Found and true identities are matched one to one, so that most images agree (IDF1 of Ristani et
    al., 2016, with one detection per image, where precision and recall are equal). Images whose
    true identity is negative do not count.

    Args:
        found: (N,) integers from 0.
        true: (N,) integers, negative where unknown.

    >>> identification_f1([0, 0, 1, 1, 2], [5, 5, 5, 6, -1])
    0.75
    """
    labels, people = np.asarray(found), np.asarray(true)
    known = people >= 0
    if not known.any():
        return float("nan")
    rows, columns = (np.unique(v[known], return_inverse=True)[1] for v in (labels, people))
    common = coo_matrix((np.ones(len(rows)), (rows, columns))).tocsr().tocoo()
    count, people_count = common.shape
    # Every found identity may stay alone: a column of its own, at a cost above that of any match.
    alone = np.arange(count)
    costs = np.concatenate([1 - common.data, np.full(count, 1.0)]) + common.data.max() + 1
    ends = np.concatenate([common.row, alone]), np.concatenate([common.col, people_count + alone])
    graph = coo_matrix((costs, ends), shape=(count, people_count + count)).tocsr()
    matched_rows, matched = min_weight_full_bipartite_matching(graph)
    is_match = matched < people_count
    both = common.tocsr()[matched_rows[is_match], matched[is_match]].sum()
    return float(both) / len(rows)


def identification_scores(found: ArrayLike, true: ArrayLike) -> dict[str, float]:
    """Return ``idf1``, ``ari``, ``purity`` and precision and recall of pairs, as fractions."""
    pairs = cluster_quality.pairwise_scores(found, true)
    return {
        "idf1": identification_f1(found, true),
        "ari": cluster_quality.adjusted_rand_index(found, true),
        "purity": cluster_quality.purity(found, true),
        "pair_precision": pairs.precision,
        "pair_recall": pairs.recall,
    }
