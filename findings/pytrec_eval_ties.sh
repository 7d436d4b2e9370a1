#!/usr/bin/env bash
# pytrec_eval-terrier 0.5.11 (trec_eval for Python), average precision of cosine similarities
#
# A gallery is ranked by similarity. Expected: the larger number comes first, and queries without an
# answer count as 0. What happens: similarities are held in single precision, equal ones are ordered
# by the *name* of the gallery image, last of the alphabet first, and a query that is missing from
# the run is left out of the answer.
# Cost: for a collapsed model, whose similarities agree in seven digits, the score is a property of
# the file names: 1.0 if the right images are called "z...", even if they are ranked last.
#
# Seen:
#   the right image first by 1e-9, called a: AP 0.3333
#   the right image last by 1e-9, called z: AP 1.0000
#   all similarities 1, right image a: AP 0.3333, z: AP 1.0000
#   two queries, one of them answered: 1 score, mean 1.0000
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(pytrec_eval-terrier==0.5.11)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys

from pytrec_eval import RelevanceEvaluator


def average_precision(right, similarities):
    evaluator = RelevanceEvaluator({"query": {right: 1}}, {"map"})
    return round(evaluator.evaluate({"query": similarities})["query"]["map"], 4)


first = average_precision("a", {"a": 0.9 + 1e-9, "b": 0.9, "c": 0.9})
last = average_precision("z", {"b": 0.9, "c": 0.9, "z": 0.9 - 1e-9})
equal = [average_precision(name, {name: 1.0, "m": 1.0, "n": 1.0}) for name in ("a", "z")]
scores = RelevanceEvaluator({"q1": {"a": 1}, "q2": {"b": 1}}, {"map"}).evaluate({"q1": {"a": 1.0}})
mean = sum(score["map"] for score in scores.values()) / len(scores)
print(f"the right image first by 1e-9, called a: AP {first:.4f}")
print(f"the right image last by 1e-9, called z: AP {last:.4f}")
print(f"all similarities 1, right image a: AP {equal[0]:.4f}, z: AP {equal[1]:.4f}")
print(f"two queries, one of them answered: {len(scores)} score, mean {mean:.4f}")

seen, expected = (first, last, equal, len(scores), mean), (0.3333, 1.0, [0.3333, 1.0], 1, 1.0)
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
