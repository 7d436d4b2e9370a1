#!/usr/bin/env bash
# imagehash 4.3.2, distance of two crop-resistant hashes
#
# Near duplicates, of which one is a crop of the other, are found by crop_resistant_hash and a
# threshold on the distance `a - b`. Expected: a - b equals b - a, as for all other hashes of the
# library, and a smaller number is a closer pair. What happens: the distance counts the segments of
# the left picture that have no partner, so it depends on which picture stands at the left, by a
# factor of three here, and a picture with many segments is far from its own crop.
# Cost: the duplicates found depend on the order of the files; sorted lists of pairs mix both.
#
# Seen:
#   segments of the picture and of its crop: 13 and 8
#   picture - crop: 8.10, crop - picture: 2.14
#   phash, the same pair: 30 and 30
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(imagehash==4.3.2 pillow==13.0.0 numpy==2.4.6 scipy==1.17.1 PyWavelets==1.9.0)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys

import imagehash
import numpy as np
from PIL import Image

patches = np.random.default_rng(0).integers(0, 256, (12, 12), np.uint8)
picture = Image.fromarray(patches).resize((200, 200), Image.Resampling.BICUBIC)
crop = picture.crop((30, 30, 170, 170))
a, b = imagehash.crop_resistant_hash(picture), imagehash.crop_resistant_hash(crop)
segments = len(a.segment_hashes), len(b.segment_hashes)
there, back = round(float(a - b), 2), round(float(b - a), 2)
plain = imagehash.phash(picture), imagehash.phash(crop)
same = int(plain[0] - plain[1]), int(plain[1] - plain[0])
print(f"segments of the picture and of its crop: {segments[0]} and {segments[1]}")
print(f"picture - crop: {there:.2f}, crop - picture: {back:.2f}")
print(f"phash, the same pair: {same[0]} and {same[1]}")

if not (there > 2 * back and same[0] == same[1]):
    sys.exit(f"the behaviour has changed: {there}, {back}, {same}")
PY
