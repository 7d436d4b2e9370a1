#!/usr/bin/env bash
# datumaro 1.13.12, YOLO labels beside a picture that the camera marks as turned (EXIF 6)
#
# A phone writes a picture of 400 x 200 pixels and the note "turn it by 90 degrees"; detectors see
# it upright, 200 x 400, and their labels are relative to that. Expected: an item has one
# orientation. What happens: `media.size` and the boxes are of the upright picture, `media.data`
# holds the pixels as stored, lying.
# Cost: `data[y1:y2, x1:x2]` cuts other pixels than the box: here a person drawn in red comes out
# as four fifths background, and so does every crop of a gallery made this way.
#
# Seen:
#   media.size (height, width): (400, 200), shape of media.data: (200, 400)
#   box: [100.0, 20.0, 180.0, 120.0]
#   share of red inside the box: upright picture 1.0, media.data 0.2
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
from PIL import Image, ImageOps

folder = Path(sys.argv[1]) / "yolo"
(folder / "obj_train_data").mkdir(parents=True)
upright = np.zeros((400, 200, 3), np.uint8)
upright[20:120, 100:180, 0] = 255  # the person: red, at the upper right
exif = Image.Exif()
exif[0x0112] = 6
photograph = folder / "obj_train_data" / "a.jpg"
Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(photograph, exif=exif, quality=100)
(folder / "obj_train_data" / "a.txt").write_text("0 0.7 0.175 0.4 0.25\n")
(folder / "obj.names").write_text("person\n")
(folder / "train.txt").write_text("data/obj_train_data/a.jpg\n")
(folder / "obj.data").write_text("classes = 1\ntrain = data/train.txt\nnames = data/obj.names\n")

(item,) = datumaro.Dataset.import_from(str(folder), "yolo")
box = [float(x) for x in item.annotations[0].points]
x1, y1, x2, y2 = (int(x) for x in box)


def redness(pixels, channel):
    return round(float((pixels[y1:y2, x1:x2, channel] > 128).mean()), 1)


turned = np.asarray(ImageOps.exif_transpose(Image.open(photograph)))
pixels = np.asarray(item.media.data)  # BGR
share = redness(turned, 0), redness(pixels, 2)
print("media.size (height, width):", item.media.size, end=", ")
print("shape of media.data:", pixels.shape[:2])
print("box:", box)
print("share of red inside the box: upright picture", share[0], end=", ")
print("media.data", share[1])

seen = (tuple(item.media.size), pixels.shape[:2], box, share)
expected = ((400, 200), (200, 400), [100.0, 20.0, 180.0, 120.0], (1.0, 0.2))
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
