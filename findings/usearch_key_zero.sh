#!/usr/bin/env bash
# usearch 2.26.6, a batch of queries that asks for more neighbours than the index holds
#
# Three images, keys 5, 6, 7, are searched for ten neighbours. Expected: three neighbours a query,
# or marks that cannot be keys. What happens: one query gives three; a batch gives a table whose
# remaining columns hold key 0, a valid key, which belongs to the first image of most galleries,
# with distance NaN. The number of real ones is in `counts` alone.
# Cost: image 0 appears as a neighbour of everybody as soon as a gallery (or the part that a camera
# leaves) is smaller than k.
#
# Seen:
#   one query: [5, 6, 7]
#   first of a batch of two: [5, 6, 7, 0, 0, 0, 0, 0, 0, 0], counts [3, 3]
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(usearch==2.26.6 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys

import numpy as np
from usearch.index import Index

index = Index(ndim=3, metric="cos", dtype="f32")
index.add(np.array([5, 6, 7]), np.array([[1, 0, 0], [1, 0.5, 0], [0, 0, 1]], np.float32))
queries = np.array([[1, 0.1, 0], [0, 0.1, 1]], np.float32)
single, batch = index.search(queries[0], 10), index.search(queries, 10)
print("one query:", single.keys.tolist())
print(f"first of a batch of two: {batch.keys[0].tolist()}, counts {batch.counts.tolist()}")

seen = (single.keys.tolist(), batch.keys[0].tolist(), batch.counts.tolist())
expected = ([5, 6, 7], [5, 6, 7] + 7 * [0], [3, 3])
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
