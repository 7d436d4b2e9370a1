#!/usr/bin/env bash
# networkx 3.6.1 beside scikit-network 0.33.5, modularity of a similarity matrix with its diagonal
#
# A matrix of similarities, 1 on the diagonal, is given to both as a weighted graph, with one
# division into three identities. Expected: one modularity, that of the formula on the matrix. What
# happens: scikit-network agrees with the formula; networkx counts each value on the diagonal
# twice, since a loop adds two to the degree of its node. Without the diagonal all three agree.
# Cost: the diagonal, which says nothing about images, decides how many identities Louvain finds,
# and in each library otherwise; a threshold on modularity does not carry over.
#
# Seen:
#   with the diagonal: formula 0.4615, scikit-network 0.4615, networkx 0.5034
#   without it: formula 0.3908, scikit-network 0.3908, networkx 0.3908
#   networkx, Louvain on 48 images: 9 clusters with the diagonal, 6 without
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(networkx==3.6.1 scikit-network==0.33.5 scipy==1.17.1 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys

import networkx
import numpy as np
from scipy.sparse import csr_matrix
from sknetwork.clustering import get_modularity

labels = np.repeat(range(3), 4)
similar = np.where(labels[:, None] == labels, 0.7, 0.1)


def modularities(matrix):
    share = matrix / matrix.sum()
    groups = [np.flatnonzero(labels == label) for label in range(3)]
    formula = sum(share[np.ix_(g, g)].sum() - share[g].sum() ** 2 for g in groups)
    graph = networkx.from_numpy_array(matrix)
    values = formula, get_modularity(csr_matrix(matrix), labels)
    values += (networkx.community.modularity(graph, [set(g.tolist()) for g in groups]),)
    return [round(float(value), 4) for value in values]


def louvain(matrix):
    graph = networkx.from_numpy_array(matrix)
    return len(networkx.community.louvain_communities(graph, seed=0))


def with_diagonal(matrix, value):
    matrix = matrix.copy()
    np.fill_diagonal(matrix, value)
    return matrix


generator = np.random.default_rng(1)
features = generator.normal(size=(12, 16))[np.repeat(range(12), 4)]
features += 0.9 * generator.normal(size=(48, 16))
features /= np.linalg.norm(features, axis=1, keepdims=True)
images = features @ features.T
images[images < 0.3] = 0

seen = {}
for value, what in ((1, "with the diagonal"), (0, "without it")):
    seen[what] = modularities(with_diagonal(similar, value))
    formula, scikit, other = seen[what]
    print(f"{what}: formula {formula:.4f}, scikit-network {scikit:.4f}, networkx {other:.4f}")
clusters = [louvain(with_diagonal(images, value)) for value in (1, 0)]
print("networkx, Louvain on 48 images:", end=" ")
print(f"{clusters[0]} clusters with the diagonal, {clusters[1]} without")

expected = {"with the diagonal": [0.4615, 0.4615, 0.5034], "without it": [0.3908] * 3}
if (seen, clusters[0] > clusters[1]) != (expected, True):
    sys.exit(f"the behaviour has changed: {seen}, {clusters}")
PY
