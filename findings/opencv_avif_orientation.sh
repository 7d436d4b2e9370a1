#!/usr/bin/env bash
# OpenCV 5.0.0 and pillow 13.0.0, one turned picture in four containers
#
# A picture lies on its side, 40 x 20 pixels, and says "turn me by 90 degrees": in EXIF, and in
# AVIF by the container's own rotation (`irot`), which a decoder has to apply. Expected:
# cv2.imread, which turns pictures by default, turns all of them. What happens: it turns JPEG, PNG
# and WebP, and not AVIF.
# Cost: the same photograph, converted to AVIF to save space, lies on its side in the gallery, and
# matches neither itself nor its animal; boxes of the upright picture are beside it.
#
# Seen (height, width):
#   jpg: OpenCV (40, 20), Pillow with exif_transpose (40, 20)
#   png: OpenCV (40, 20), Pillow with exif_transpose (40, 20)
#   webp: OpenCV (40, 20), Pillow with exif_transpose (40, 20)
#   avif: OpenCV (20, 40), Pillow with exif_transpose (40, 20)
#   the AVIF file has an irot box: True
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys
from pathlib import Path

import cv2
from PIL import Image, ImageOps

exif = Image.Exif()
exif[0x0112] = 6
seen = {}
for kind in ("jpg", "png", "webp", "avif"):
    file = Path(sys.argv[1]) / f"turned.{kind}"
    Image.new("RGB", (40, 20), (200, 0, 0)).save(file, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(file)).size[::-1]
    seen[kind] = cv2.imread(str(file)).shape[:2], upright
    print(f"{kind}: OpenCV {seen[kind][0]}, Pillow with exif_transpose {upright}")
rotation = b"irot" in file.read_bytes()
print("the AVIF file has an irot box:", rotation)

turned = ((40, 20), (40, 20))
expected = {"jpg": turned, "png": turned, "webp": turned, "avif": ((20, 40), (40, 20))}
if (seen, rotation) != (expected, True):
    sys.exit(f"the behaviour has changed: {seen}")
PY
