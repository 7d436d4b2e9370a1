#!/usr/bin/env bash
# scikit-image 0.26.0, skimage.io.imread of a TIFF with several pages
#
# A thermal camera stores each burst as one TIFF of grey pages. Expected: (pages, height, width) for
# every burst, as tifffile gives it. What happens: bursts of three or four pages are taken for one
# colour picture, and come as (height, width, 3) and (height, width, 4); two or five pages do not.
# Cost: three moments become the red, green and blue of one picture, so a moving person has three
# colours, and a loop over the "pages" walks over the rows of the picture.
#
# Seen:
#   2 pages: skimage (2, 32, 48), tifffile (2, 32, 48)
#   3 pages: skimage (32, 48, 3), tifffile (3, 32, 48)
#   4 pages: skimage (32, 48, 4), tifffile (4, 32, 48)
#   5 pages: skimage (5, 32, 48), tifffile (5, 32, 48)
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(scikit-image==0.26.0 tifffile==2026.3.3 pillow==13.0.0 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from skimage import io

seen = {}
for count in (2, 3, 4, 5):
    file = Path(sys.argv[1]) / f"burst{count}.tif"
    pages = [Image.fromarray(np.full((32, 48), 40 * i, np.uint8)) for i in range(count)]
    pages[0].save(file, save_all=True, append_images=pages[1:])
    seen[count] = io.imread(file).shape
    print(f"{count} pages: skimage {seen[count]}, tifffile {tifffile.imread(file).shape}")

expected = {2: (2, 32, 48), 3: (32, 48, 3), 4: (32, 48, 4), 5: (5, 32, 48)}
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
