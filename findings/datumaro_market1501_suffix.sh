#!/usr/bin/env bash
# datumaro 1.13.12, import of the format "market1501"
#
# File names in the manner of Market-1501 may carry a suffix: augmented copies (`_flip`, `_rain`),
# MSMT17 repacked (`_ex`). The reader accepts it. Expected: one item per file. What happens: the
# suffix *replaces* the whole name as the item's id, so all files of one suffix have one id, and
# only the first of them is kept. Nothing is said.
# Cost: a training set shrinks to its first augmented image.
#
# Seen:
#   4 files, items read: ['0001_c1s1_000151_01', '_flip']
#   identities read: ['0001', '0002'] of 0001 to 0004
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

folder = Path(sys.argv[1]) / "market"
(folder / "bounding_box_train").mkdir(parents=True)
for name in (
    "0001_c1s1_000151_01",
    "0002_c2s1_000301_01_flip",
    "0003_c3s1_000451_01_flip",
    "0004_c4s1_000601_01_flip",
):
    Image.new("RGB", (64, 128)).save(folder / "bounding_box_train" / f"{name}.jpg")

items = list(datumaro.Dataset.import_from(str(folder), "market1501"))
ids = sorted(item.id for item in items)
people = sorted(item.attributes["person_id"] for item in items)
print("4 files, items read:", ids)
print("identities read:", people, "of 0001 to 0004")

seen, expected = (ids, people), (["0001_c1s1_000151_01", "_flip"], ["0001", "0002"])
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
