#!/usr/bin/env bash
# trackeval 1.3.0 and motmetrics 1.4.0 (py-motmetrics), one perfect result
#
# A person leaves the picture for two frames and comes back with the same number, while another one
# stays; the result equals the ground truth in every frame. Expected: no fragmentation, in both.
# What happens: TrackEval counts one, since it counts every gap of a trajectory, also one of the
# ground truth itself (and none if nobody is in the picture meanwhile); py-motmetrics counts only
# gaps of the tracker. They part at "mostly tracked" too: 8 frames of 10 are enough for
# py-motmetrics (>= 80 %) and not for TrackEval (> 80 %).
# Cost: "Frag" and "MT" of two papers cannot be compared, and a sequence where people walk in and
# out gives a perfect tracker a bad Frag.
#
# Seen:
#   perfect result, person away for 2 of 10 frames: Frag TrackEval 1, py-motmetrics 0
#   the same, nobody else in the picture: Frag TrackEval 0, py-motmetrics 0
#   8 of 10 frames found: mostly tracked TrackEval 0, py-motmetrics 1
#   MOTA of the perfect result: TrackEval 1, py-motmetrics 1
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(trackeval==1.3.0 motmetrics==1.4.0 scipy==1.17.1 numpy==2.4.6 pandas==3.1.1)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys

import motmetrics
import numpy as np
from trackeval.metrics import CLEAR


def evaluate(truth, found):
    """Return (TrackEval, py-motmetrics) of Frag, MT and MOTA; per frame the people present."""
    accumulator = motmetrics.MOTAccumulator()
    frames = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for real, result in zip(truth, found, strict=True):
        overlap = np.array([[float(a == b) for b in result] for a in real])
        overlap = overlap.reshape(len(real), len(result))
        distances = np.where(overlap == 1, 0, np.nan)
        accumulator.update(real, result, distances, frameid=len(frames["gt_ids"]))
        frames["gt_ids"].append(np.array(real, int))
        frames["tracker_ids"].append(np.array(result, int))
        frames["similarity_scores"].append(overlap)
    people = len({person for real in truth for person in real})
    counts = {"num_timesteps": 10, "num_gt_ids": people, "num_tracker_ids": people}
    counts |= {"num_gt_dets": sum(map(len, truth)), "num_tracker_dets": sum(map(len, found))}
    trackeval = CLEAR({"PRINT_CONFIG": False}).eval_sequence(frames | counts)
    names = ["num_fragmentations", "mostly_tracked", "mota"]
    row = motmetrics.metrics.create().compute(accumulator, metrics=names).iloc[0]
    other = (int(row[name]) for name in names)
    return list(zip((int(trackeval[name]) for name in ("Frag", "MT", "MOTA")), other, strict=True))


def told(what, pair):
    print(f"{what} TrackEval {pair[0]}, py-motmetrics {pair[1]}")


away = [[1] if frame in (4, 5) else [0, 1] for frame in range(10)]
alone = [[] if frame in (4, 5) else [0] for frame in range(10)]
frag, _, mota = evaluate(away, away)
frag_alone, _, _ = evaluate(alone, alone)
_, tracked, _ = evaluate([[0]] * 10, [[0]] * 8 + [[], []])
told("perfect result, person away for 2 of 10 frames: Frag", frag)
told("the same, nobody else in the picture: Frag", frag_alone)
told("8 of 10 frames found: mostly tracked", tracked)
told("MOTA of the perfect result:", mota)

seen, expected = (frag, frag_alone, tracked, mota), ((1, 0), (0, 0), (0, 1), (1, 1))
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
