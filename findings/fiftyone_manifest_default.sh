#!/usr/bin/env bash
# fiftyone 1.22.1, importer of FiftyOne's own image classification format
#
# A folder holds labels.json and data.json, the manifest of where the images lie. The importer's
# documentation says that without data_path it takes data/ or data.json, whichever is there.
# What happens: it looks for data/ and for "data/.json", so the manifest is not found; with
# data_path="data.json" it is.
# Cost: an export that leaves the images where they are, as the format allows, cannot be opened
# without a further argument.
#
# Seen:
#   without data_path: ValueError
#   with data_path=data.json: 1 image
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(fiftyone==1.22.1)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
HOME="$d" "$d/venv/bin/python" - "$d/export" <<'PY'
import json
import sys
from pathlib import Path

from fiftyone.utils.data.importers import FiftyOneImageClassificationDatasetImporter
from PIL import Image

folder = Path(sys.argv[1])
folder.mkdir()
Image.new("RGB", (8, 8)).save(folder.parent / "crop.jpg")
(folder / "data.json").write_text(json.dumps({"a": str(folder.parent / "crop.jpg")}))
(folder / "labels.json").write_text(json.dumps({"classes": None, "labels": {"a": "12"}}))


def images(**arguments):
    try:
        importer = FiftyOneImageClassificationDatasetImporter(dataset_dir=str(folder), **arguments)
        with importer:
            return f"{sum(1 for _ in importer)} image"
    except ValueError as error:
        return type(error).__name__


seen = images(), images(data_path="data.json")
print("without data_path:", seen[0])
print("with data_path=data.json:", seen[1])
if seen != ("ValueError", "1 image"):
    sys.exit("the behaviour has changed")
PY
