#!/usr/bin/env bash
# scipy 1.17.1, connected_components and minimum_spanning_tree of one sparse distance graph
#
# Eight images, two of them copies of others, as a sparse matrix of distances with the zeros of the
# copies stored. Expected: the spanning tree connects what the graph connects, seven edges for one
# component; single linkage is read off it. What happens: connected_components counts a stored zero
# as an edge, minimum_spanning_tree chooses such an edge and then drops it with its weight, so two
# edges are missing and the tree has three components. With 1e-9 in place of each zero it is whole.
# Cost: in single linkage read off such a tree, the copies of an image end up alone, at any
# threshold, although nothing is nearer.
#
# Seen:
#   graph: 1 component; tree: 5 edges, 3 components; with 1e-9 for 0: 7 edges, 1 component
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(scipy==1.17.1 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - <<'PY'
import sys

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

places = np.array([0.0, 0.1, 0.25, 0.45, 0.7, 1.0, 0.1, 0.7])  # the last two are copies
rows, columns = np.triu_indices(len(places), 1)
distances = np.abs(places[rows] - places[columns])


def components(graph):
    return int(connected_components(graph, directed=False)[0])


def tree_of(weights):
    graph = csr_matrix((weights, (rows, columns)), shape=(len(places),) * 2)
    assert graph.nnz == len(weights)  # zeros are stored
    tree = minimum_spanning_tree(graph)
    return components(graph), tree.nnz, components(tree)


whole, edges, parts = tree_of(distances)
_, lifted_edges, lifted_parts = tree_of(np.where(distances == 0, 1e-9, distances))
print(
    f"graph: {whole} component; tree: {edges} edges, {parts} components; "
    f"with 1e-9 for 0: {lifted_edges} edges, {lifted_parts} component"
)
if (whole, edges, parts, lifted_edges, lifted_parts) != (1, 5, 3, 7, 1):
    sys.exit("the behaviour has changed")
PY
