#!/usr/bin/env bash
# trackers 2.6.1 (Roboflow), ground truth of MOT15
#
# Ground truth of MOT15 has ten columns: frame, id, box, a flag, and three world coordinates, which are
# -1 where there are none. The result equals it in every box and id. Expected: all scores are 1.
# What happens: trackers takes the eighth column for the class of MOT16 and later, in each file that
# has it, and keeps class 1 only. Without world coordinates no box of the ground truth is left, and MOTA,
# IDF1 and HOTA are 0, without a warning, with each box of the perfect result as a false one. Where there are
# world coordinates, only people remain who stand between 1 and 2 metres to the east. The same rows without the
# last three columns give 1.
# Cost: a benchmark of MOT15 scores every tracker as 0, or by a few of its people, which is harder to notice.
#
# Seen (MOTA, IDF1, HOTA; boxes of the truth that count):
#   trackers, ten columns, no world coordinates: 0.0 0.0 0.0; 0 of 20
#   trackers, ten columns, in metres: -2.0 0.4 0.354; 5 of 20
#   trackers, the first seven columns: 1.0 1.0 1.0; 20 of 20
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(trackers==2.6.1 supervision==0.31.2 numpy==2.4.6 scipy==1.17.1)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys
from pathlib import Path

from trackers.eval import evaluate_mot_sequence

folder = Path(sys.argv[1])


def written(name, rows):
    """Write rows as a MOT file."""
    path = folder / name
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


boxes = [
    (frame, who, 200 * who + 3 * frame, 50, 40, 80) for frame in range(1, 11) for who in (1, 2)
]
result = written("result.txt", [(*box, 0.9, -1, -1, -1) for box in boxes])
plain = written("plain.txt", [(*box, 1, -1, -1, -1) for box in boxes])
short = written("short.txt", [(*box, 1) for box in boxes])
# In metres: person 1 walks east from 0 by 0.2 a frame, person 2 stands at 5.
metres = written(
    "metres.txt",
    [(*box, 1, round(0.2 * (box[0] - 1), 1) if box[1] == 1 else 5.0, 3.0, 0) for box in boxes],
)

seen = []
for what, truth in (
    ("ten columns, no world coordinates", plain),
    ("ten columns, in metres", metres),
    ("the first seven columns", short),
):
    scores = evaluate_mot_sequence(truth, result, metrics=["CLEAR", "HOTA", "Identity"])
    counted = scores.CLEAR.CLR_TP + scores.CLEAR.CLR_FN
    row = [scores.CLEAR.MOTA, scores.Identity.IDF1, scores.HOTA.HOTA]
    row = [round(value, 3) for value in row]
    print(f"trackers, {what}:", *row, end=f"; {counted} of {len(boxes)}\n")
    seen.append((*row, counted))

if seen != [(0, 0, 0, 0), (-2, 0.4, 0.354, 5), (1, 1, 1, 20)]:
    sys.exit(f"the behaviour has changed: {seen}")
PY
