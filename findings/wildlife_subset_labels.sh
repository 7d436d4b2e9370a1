#!/usr/bin/env bash
# wildlife-datasets 1.0.9, integer labels of subsets
#
# A data set of five turtles is divided into database and query by `get_subset`. Expected: `labels`
# (integers) of one turtle are the same in both, since both come from one data set. What happens:
# each subset numbers its identities anew, in order of appearance, so number 0 is another turtle in
# each.
# Cost: accuracy or mAP from `database.labels` and `query.labels` (or from what the loader returns
# with factorize_label=True) is wrong without a word: 0.0 for features that are perfect. The names
# (`labels_string`) are right.
#
# Seen:
#   database: {'a': 0, 'b': 1, 'c': 2, 'd': 3, 'e': 4}
#   query: {'e': 0, 'd': 1, 'b': 2, 'a': 3}
#   rank-1 of perfect features: by labels 0.0, by labels_string 1.0
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(wildlife-datasets==1.0.9 pandas==2.3.3 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys

import numpy as np
import pandas as pd
from wildlife_datasets.datasets import WildlifeDataset

turtles = ["a", "b", "c", "d", "e", "e", "d", "b", "a"]
paths = [f"{i}.jpg" for i in range(9)]
frame = pd.DataFrame({"image_id": range(9), "identity": turtles, "path": paths})
data = WildlifeDataset(df=frame, check_files=False)
database, query = data.get_subset(list(range(5))), data.get_subset(list(range(5, 9)))


def numbers(subset):
    names, labels = subset.labels_string.tolist(), subset.labels.tolist()
    return dict(zip(names, labels, strict=True))


names = database.labels_string.tolist()
nearest = np.array([names.index(name) for name in query.labels_string])  # perfect features
by_number = float(np.mean(database.labels[nearest] == query.labels))
by_name = float(np.mean(database.labels_string[nearest] == query.labels_string))
print("database:", numbers(database))
print("query:", numbers(query))
print(f"rank-1 of perfect features: by labels {by_number}, by labels_string {by_name}")

seen = (numbers(database), numbers(query), by_number, by_name)
expected = ({"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}, {"e": 0, "d": 1, "b": 2, "a": 3}, 0.0, 1.0)
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
