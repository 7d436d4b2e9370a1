#!/usr/bin/env bash
# sqlite-vec 0.1.9, nearest neighbours of another camera
#
# A gallery is asked for the five nearest images that are not of camera c1. Expected: in SQL,
# `camera != 'c1'`, `NOT camera = 'c1'` and `camera NOT IN ('c1')` are one condition. What happens:
# the first is applied before the search and gives five rows; the others after it, on the five
# nearest of all cameras. Where these are of camera c1 (they are: that is why the protocol leaves
# them out), no row is left.
# Cost: queries without an answer, or with too few, by the wording of the condition.
#
# Seen:
#   camera != 'c1': 5 rows
#   NOT camera = 'c1': 0 rows
#   camera NOT IN ('c1'): 0 rows
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(sqlite-vec==0.1.9 apsw==3.54.1.0 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys

import apsw
import numpy as np
import sqlite_vec

database = apsw.Connection(":memory:")  # Python's own sqlite3 may lack extensions
database.enable_load_extension(True)
sqlite_vec.load(database)
database.execute("CREATE VIRTUAL TABLE gallery USING vec0(embedding float[4], camera text)")
for i in range(20):  # the nearest ten are of camera c1
    row = np.array([1, 0.1 * i, 0, 0], np.float32).tobytes(), "c1" if i < 10 else "c2"
    database.execute("INSERT INTO gallery (embedding, camera) VALUES (?, ?)", row)
query = np.array([1, 0, 0, 0], np.float32).tobytes()
seen = {}
for condition in ("camera != 'c1'", "NOT camera = 'c1'", "camera NOT IN ('c1')"):
    rows = database.execute(
        f"SELECT rowid FROM gallery WHERE embedding MATCH ? AND k = 5 AND {condition}", (query,)
    ).fetchall()
    seen[condition] = len(rows)
    print(f"{condition}: {len(rows)} rows")

if list(seen.values()) != (expected := [5, 0, 0]):
    sys.exit(f"the behaviour has changed: {seen}")
PY
