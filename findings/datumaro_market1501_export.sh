#!/usr/bin/env bash
# datumaro 1.13.12, export to the format "market1501"
#
# Five crops of one person by one camera, described by `person_id` and `camera_id`, go out as a
# Market-1501 folder. Expected: five files, numbered on, as the exporter sets out to do. What
# happens: it looks the frames used so far up under another key than it stores them, so each crop
# gets frame 000000, and each file overwrites the one before. The list file still has five lines.
# Cost: all images but one of every (person, camera) are gone, and the list hides it.
#
# Seen:
#   5 crops in, files out: ['0007_c2s1_000000_00.jpg']
#   lines in images_train.txt: 5
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(datumaro==1.13.12)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys
from pathlib import Path

import datumaro
import numpy as np
from datumaro.components.media import Image

folder = Path(sys.argv[1]) / "exported"
crops = [
    datumaro.DatasetItem(
        id=f"crop{i}",
        subset="train",
        media=Image.from_numpy(np.full((128, 64, 3), 40 * i, np.uint8)),
        attributes={"person_id": "0007", "camera_id": 1},
    )
    for i in range(5)
]
datumaro.Dataset.from_iterable(crops, media_type=Image).export(
    str(folder), "market1501", save_media=True
)
files = sorted(path.name for path in folder.rglob("*.jpg"))
lines = (folder / "images_train.txt").read_text().splitlines()
print("5 crops in, files out:", files)
print("lines in images_train.txt:", len(lines))

seen, expected = (files, len(lines)), (["0007_c2s1_000000_00.jpg"], 5)
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
