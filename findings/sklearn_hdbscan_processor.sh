#!/usr/bin/env bash
# scikit-learn 1.9.1, numpy 2.4.6, sklearn.cluster.HDBSCAN
#
# Whole-number coordinates have many equal distances, as have similarities of few bits and graphs of
# mutual neighbours. Expected: the same points, in the same order, get the same labels on every
# computer. What happens: the edges of the tree are sorted by NumPy's default sort, which leaves
# equal ones in an order that depends on the vector unit of the processor, and are then cut one
# after the other; the paper (Campello et al. 2013) cuts equal ones at the same moment. So the number
# of clusters and outliers depends on the computer. NPY_DISABLE_CPU_FEATURES shows an older processor
# on a newer one; where NumPy finds no vector unit to sort with, the script says so and compares
# nothing.
# Cost: pseudo labels, and all that is trained on them, cannot be repeated on another machine.
#
# Seen, on a processor with AVX-512:
#   with the vector unit: 17 clusters, 99 of 353 points outliers
#   without: 17 clusters, 88 of 353 points outliers
#   points that are an outlier in one of them alone: 25
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
cat > "$d/cluster.py" <<'PY'
import json
import sys

import numpy as np
from numpy._core._multiarray_umath import __cpu_features__
from sklearn.cluster import HDBSCAN

points = np.random.default_rng(0).integers(0, 40, (400, 2)).astype(float)
points = np.unique(points, axis=0)
labels = HDBSCAN(min_cluster_size=5, copy=True).fit_predict(points)
vectors = any(__cpu_features__.get(name) for name in ("X86_V3", "X86_V4", "AVX2", "AVX512_SKX"))
json.dump({"vectors": vectors, "labels": labels.tolist()}, sys.stdout)
PY
"$d/venv/bin/python" "$d/cluster.py" > "$d/new.json"
NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL AVX512_SPR" \
  "$d/venv/bin/python" -W ignore "$d/cluster.py" > "$d/old.json"
"$d/venv/bin/python" - "$d" <<'PY'
import json
import sys
from pathlib import Path

new, old = (json.loads((Path(sys.argv[1]) / f"{n}.json").read_text()) for n in ("new", "old"))
if not new["vectors"]:
    print("this processor has no vector unit that NumPy sorts with; nothing is compared")
    sys.exit()
for name, run in (("with the vector unit", new), ("without", old)):
    labels = run["labels"]
    print(f"{name}: {max(labels) + 1} clusters, {labels.count(-1)} of {len(labels)} points outliers")
differ = sum((a < 0) != (b < 0) for a, b in zip(new["labels"], old["labels"], strict=True))
print(f"points that are an outlier in one of them alone: {differ}")
if not differ:
    sys.exit("the behaviour has changed: the same outliers on both")
PY
