#!/usr/bin/env bash
# datasets 5.2.0 (Hugging Face), load_dataset("imagefolder")
#
# Folders of images are read whole, and split by the words train, val and test in their names, as
# the documentation says. Expected: images in folders without such a word come along somewhere, or
# a line says that they do not. What happens: as soon as one folder has such a word, all others are
# left out without a word. Market-1501 comes without `query`, MARS-like trees without `query` and
# `gallery`, and one animal called "test_turtle" is enough to lose all other animals.
# Cost: a re-identification data set without its queries, or with one identity of three.
#
# Seen:
#   Market-1501, 4 + 2 + 3 images: {'train': 4, 'test': 3}
#   train, query, gallery, 2 images each: {'train': 2}
#   turtle_a, turtle_b, test_turtle, 2 images each: {'test': 2}
#   turtle_a, turtle_b, third_turtle, 2 images each: {'train': 6}
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(datasets==5.2.0 pillow==13.0.0)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
os.environ["HF_HOME"] = str(Path(sys.argv[1]) / "home")

from datasets import load_dataset
from PIL import Image


def read(name, folders):
    """Write a tree of images; return the number of images read per split."""
    root = Path(sys.argv[1]) / name
    for folder, count in folders.items():
        (root / folder).mkdir(parents=True)
        for i in range(count):
            path = root / folder / f"{i + 1:04d}_c1s1_{i:06d}_00.jpg"
            Image.new("RGB", (8, 16), (40 * i, 0, 0)).save(path)
    data = load_dataset("imagefolder", data_dir=str(root))
    return {split: len(rows) for split, rows in data.items()}


market = read("market", {"bounding_box_train": 4, "query": 2, "bounding_box_test": 3})
mars = read("mars", {"train/0001": 2, "query/0002": 2, "gallery/0002": 2})
turtles = read("turtles", {"turtle_a": 2, "turtle_b": 2, "test_turtle": 2})
others = read("others", {"turtle_a": 2, "turtle_b": 2, "third_turtle": 2})
print("Market-1501, 4 + 2 + 3 images:", market)
print("train, query, gallery, 2 images each:", mars)
print("turtle_a, turtle_b, test_turtle, 2 images each:", turtles)
print("turtle_a, turtle_b, third_turtle, 2 images each:", others)

seen = (market, mars, turtles, others)
expected = ({"train": 4, "test": 3}, {"train": 2}, {"test": 2}, {"train": 6})
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
