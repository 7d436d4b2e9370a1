#!/usr/bin/env bash
# imagehash 4.3.2 with pillow 13.0.0, perceptual hashes of 16-bit thermal pictures
#
# Near duplicates are found by a perceptual hash. Expected: two different 16-bit PNG pictures
# (thermal cameras store hundredths of a kelvin, about 30,000) have different hashes, as their
# 8-bit versions do. What happens: each hash first asks Pillow for 8-bit grey, and Pillow cuts 16
# bits off at 255 instead of scaling: each picture is plain white.
# Cost: all thermal pictures of a data set are duplicates of one another, and a tool that removes
# duplicates keeps one of them. `cv2.imread` of the same file divides by 256, so tools disagree.
#
# Seen:
#   16 bits: phash distance 0, average_hash 0, dhash 0, whash 0
#   8 bits: phash distance 32, average_hash 64, dhash 64, whash 64
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(imagehash==4.3.2 pillow==13.0.0 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

rows, columns = np.mgrid[0:64, 0:48]
warm_left = 29000 + 40 * (48 - columns) + 3 * rows  # a person at the left, one at the right
warm_right = 29000 + 40 * columns + 3 * rows
names = ("phash", "average_hash", "dhash", "whash")


def distances(first, second):
    files = Path(sys.argv[1]) / "a.png", Path(sys.argv[1]) / "b.png"
    for file, pixels in zip(files, (first, second), strict=True):
        Image.fromarray(pixels).save(file)
    a, b = (Image.open(file) for file in files)
    return [int(getattr(imagehash, name)(a) - getattr(imagehash, name)(b)) for name in names]


deep = distances(warm_left.astype(np.uint16), warm_right.astype(np.uint16))
shallow = distances(*(((x - 29000) / 9).astype(np.uint8) for x in (warm_left, warm_right)))
for bits, values in ((16, deep), (8, shallow)):
    text = ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
    print(f"{bits} bits:", text.replace("phash", "phash distance", 1))

if not (deep == [0, 0, 0, 0] and min(shallow) > 20):
    sys.exit(f"the behaviour has changed: {deep}, {shallow}")
PY
