#!/usr/bin/env bash
# wildlife-tools 0.0.9, KnnClassifier(k=5)
#
# The labels of the five nearest images, nearest first, are 1, 2, 0, 0, 0. The documentation has a
# majority vote, "If there is tie at given k, prediction from k-1 is used". Expected: 0, with three of
# five votes. What happens: 1. The votes are sorted in ascending order and the two rarest labels are
# compared: 1 and 2 have a vote each, which passes for a tie, and so back to the nearest image. With
# 0, 1, 1, 0, 2, where 0 and 1 do have two votes each, no tie is seen.
# Cost: an individual with a clear majority among the neighbours is named as the nearest image says,
# as soon as two other labels occur equally often, which is the usual case.
#
# Seen:
#   1 2 0 0 0: predicted 1
#   0 1 1 0 2: predicted 0
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(wildlife-tools==0.0.9 pandas==2.3.3 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - <<'PY'
import sys
import warnings

import torch
from wildlife_tools.inference import KnnClassifier

warnings.simplefilter("ignore")  # pandas, on its own changes
seen = {}
for labels in ([1, 2, 0, 0, 0], [0, 1, 1, 0, 2]):
    predicted = KnnClassifier(k=5).aggregate(torch.tensor([labels]))
    seen[tuple(labels)] = int(predicted[0][-1])
    print(f"{' '.join(map(str, labels))}: predicted {seen[tuple(labels)]}")
if seen != {(1, 2, 0, 0, 0): 1, (0, 1, 1, 0, 2): 0}:
    sys.exit(f"the behaviour has changed: {seen}")
PY
