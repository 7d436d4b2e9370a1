#!/usr/bin/env bash
# pillow 13.0.0, OpenCV 5.0.0, tifffile 2026.3.3: a TIFF in which 0 is white
#
# TIFF 6.0 lets the values of a grey picture run from white to black (PhotometricInterpretation 0),
# in 8 or in 16 bits. Expected: a reader turns both depths round, or neither. What happens: Pillow
# turns 8 bits round and leaves 16 bits a negative; OpenCV turns 16 bits round when it is asked for
# 8 and not when it is asked for all; tifffile never does.
# Cost: a gallery written by one reader and queried through another, or a camera changed from 8 to
# 16 bits, compares pictures with their negatives.
#
# Seen, for a value that is nearly white (10 of 255):
#   8 bits: Pillow 245, OpenCV IMREAD_UNCHANGED 245, IMREAD_GRAYSCALE 245, tifffile 10
#   16 bits: Pillow 10, OpenCV IMREAD_UNCHANGED 10, IMREAD_GRAYSCALE 245, tifffile 10
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(pillow==13.0.0 opencv-python-headless==5.0.0.93 tifffile==2026.3.3 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

seen = {}
for bits, kind in ((8, np.uint8), (16, np.uint16)):
    file = str(Path(sys.argv[1]) / f"{bits}.tif")
    unit = 2**bits // 256
    tifffile.imwrite(file, np.full((16, 16), 10 * unit, kind), photometric="miniswhite")
    pixels = {
        "Pillow": np.asarray(Image.open(file)),
        "OpenCV IMREAD_UNCHANGED": cv2.imread(file, cv2.IMREAD_UNCHANGED),
        "IMREAD_GRAYSCALE": cv2.imread(file, cv2.IMREAD_GRAYSCALE),
        "tifffile": tifffile.imread(file),
    }
    seen[bits] = {
        reader: int(p.flat[0]) // (unit if p.dtype == np.uint16 else 1)
        for reader, p in pixels.items()
    }
    print(f"{bits} bits:", ", ".join(f"{reader} {value}" for reader, value in seen[bits].items()))

expected = {8: [245, 245, 245, 10], 16: [10, 10, 245, 10]}
if {bits: list(values.values()) for bits, values in seen.items()} != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
