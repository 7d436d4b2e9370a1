#!/usr/bin/env bash
# usearch 2.26.6, an index of 8-bit integers with the metric l2sq
#
# Embeddings are stored in 8 bits to save memory. Expected: Index(metric="l2sq", dtype="i8") finds
# the nearest vectors by squared distance, a little less exactly. What happens: each vector is
# divided by its own length before it is rounded, so that only directions are compared: v and 3 v
# have distance 0, and the order is that of the cosine. A NumPy array of int8 that goes into a
# float index is divided by 127 on the way, an array of float32 with the same values is not.
# Cost: other neighbours than asked for, without a word; a table of int8 embeddings and one of
# float32 put into one index do not match each other.
#
# Seen:
#   nearest to (1, 0): f32 says (1, 0.5), i8 says (4, 0.1)
#   distance of (1, 0) and (4, 0): f32 9, i8 0
#   an int8 vector (100, 0) in a float index: 0.787
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

points = np.array([[1, 0.5], [4, 0.1], [4, 0]], np.float32)
query = np.array([1, 0], np.float32)
nearest, far = {}, {}
for kind in ("f32", "i8"):
    index = Index(ndim=2, metric="l2sq", dtype=kind)
    index.add(np.arange(2), points[:2])
    nearest[kind] = int(index.search(query, 1).keys[0])
    one = Index(ndim=2, metric="l2sq", dtype=kind)
    one.add(0, points[2])
    far[kind] = float(one.search(query, 1).distances[0])
mixed = Index(ndim=2, metric="l2sq", dtype="f32")
mixed.add(0, np.array([100, 0], np.int8))
value = round(float(mixed.get(0)[0]), 3)
names = ("(1, 0.5)", "(4, 0.1)")
print("nearest to (1, 0):", end=" ")
print(", ".join(f"{kind} says {names[key]}" for kind, key in nearest.items()))
print(f"distance of (1, 0) and (4, 0): f32 {far['f32']:g}, i8 {far['i8']:g}")
print("an int8 vector (100, 0) in a float index:", value)

seen = (nearest, far, value)
expected = ({"f32": 0, "i8": 1}, {"f32": 9.0, "i8": 0.0}, 0.787)
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
