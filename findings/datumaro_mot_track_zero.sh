#!/usr/bin/env bash
# datumaro 1.13.12, tracks in the MOT format
#
# A file of tracks with the ids 0 and 1, as boxmot and trackers number them, is read and written
# again. Expected: two tracks. What happens: the reader keeps ids above 0 only, so the boxes
# of person 0 have no track; the writer gives them all the id -1, and person 1 stays 1.
# Cost: the first person of every camera is nobody. What drops -1 loses this person; what keeps it
# sees one id twice in a frame as soon as two files are joined.
#
# Seen:
#   track_id after reading: None, 1
#   ids after writing: -1, 1
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
from PIL import Image

folder = Path(sys.argv[1]) / "hall"
(folder / "gt").mkdir(parents=True)
(folder / "img1").mkdir()
(folder / "gt" / "labels.txt").write_text("person\n")
rows = [f"{frame},{track},{50 * track},0,20,40,1,1,1" for frame in (1, 2) for track in (0, 1)]
(folder / "gt" / "gt.txt").write_text("\n".join(rows) + "\n")
for frame in (1, 2):
    Image.fromarray(np.zeros((60, 100, 3), np.uint8)).save(folder / "img1" / f"{frame:06d}.jpg")

dataset = datumaro.Dataset.import_from(str(folder), "mot_seq")
read = {
    (box.points[0], box.attributes.get("track_id")) for item in dataset for box in item.annotations
}
dataset.export(sys.argv[1] + "/again", "mot_seq_gt")
text = next(Path(sys.argv[1], "again").rglob("gt.txt")).read_text()
written = sorted({int(line.split(",")[1]) for line in text.split()})
print("track_id after reading:", ", ".join(str(track) for _, track in sorted(read)))
print("ids after writing:", ", ".join(map(str, written)))

if (read, written) != ({(0.0, None), (50.0, 1)}, [-1, 1]):
    sys.exit(f"the behaviour has changed: {read}, {written}")
PY
