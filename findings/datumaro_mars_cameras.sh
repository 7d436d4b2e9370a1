#!/usr/bin/env bash
# datumaro 1.13.12, formats "mars" and "market1501" of one library
#
# A MARS folder is converted to Market-1501's layout. Both data sets write the same person, of the
# same six cameras, as camera 1: `0001C1T0001F001.jpg`, `0001_c1s1_...`. Expected: C1 becomes c1.
# What happens: the reader of MARS counts cameras from 1 in `camera_id`, those of Market-1501 from
# 0, and the conversion adds 1: C1 becomes c2, C6 becomes c7. Junk (`00-1`) becomes a name that
# the reader of Market-1501 does not understand: it loses all its attributes.
# Cost: merged with Market-1501, the filter of the same camera removes the wrong pairs, and junk
# turns into images without an identity.
#
# Seen:
#   written: ['00-1_c2s1_000001_00.jpg', '0001_c2s1_000001_00.jpg', '0001_c7s1_000001_00.jpg']
#   camera_id of camera 1: from MARS 1, from Market-1501 0
#   attributes of the junk image read again: {}
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
from PIL import Image

root = Path(sys.argv[1])
for name in (
    "mars/bbox_train/0001/0001C1T0001F001.jpg",
    "mars/bbox_train/0001/0001C6T0001F001.jpg",
    "mars/bbox_test/00-1/00-1C1T0001F001.jpg",
    "market/bounding_box_train/0001_c1s1_000001_00.jpg",
):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 128)).save(root / name)

mars = datumaro.Dataset.import_from(str(root / "mars"), "mars")
market = datumaro.Dataset.import_from(str(root / "market"), "market1501")
mars.export(str(root / "written"), "market1501", save_media=True)
again = datumaro.Dataset.import_from(str(root / "written"), "market1501")

written = sorted(path.name for path in (root / "written").rglob("*.jpg"))
camera_1 = {item.id: item.attributes["camera_id"] for data in (mars, market) for item in data}
cameras = camera_1["0001C1T0001F001"], camera_1["0001_c1s1_000001_00"]
junk = next(dict(item.attributes) for item in again if item.subset == "test")
print("written:", written)
print(f"camera_id of camera 1: from MARS {cameras[0]}, from Market-1501 {cameras[1]}")
print("attributes of the junk image read again:", junk)

seen = (written, cameras, junk)
expected = (
    ["00-1_c2s1_000001_00.jpg", "0001_c2s1_000001_00.jpg", "0001_c7s1_000001_00.jpg"],
    (1, 0),
    {},
)
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
