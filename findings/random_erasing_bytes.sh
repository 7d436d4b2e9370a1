#!/usr/bin/env bash
# torchvision 0.28.0 (torch 2.13.0), transforms.v2.RandomErasing(value="random") on images of bytes
#
# torchvision's guide advises to keep images as uint8 until the end of a pipeline. Expected: the erased
# rectangle is noise over the levels of such an image, 0 to 255.
# What happens: the noise is standard normal, as for images that are normalised already, and is cast
# to bytes. Two thirds of it are 0, nearly all the rest is 1, or 255 and 254, to which negative numbers
# wrap; no level from 10 to 245 occurs. On float images before Normalize it leaves 0 to 1, too.
# Cost: random erasing, which every recipe of re-identification has, becomes black with white dots
# once a pipeline is moved to bytes for speed, and nothing says so.
#
# Seen:
#   bytes: 68 % are 0, 14 % are 1, 16 % are 254 or 255; levels 10 to 245: 0 %
#   floats of 0 to 1: 66 % of the noise lies outside 0 to 1
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(torchvision==0.28.0 torch==2.13.0)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys

import torch
from torchvision.transforms import v2

torch.manual_seed(0)
grey = torch.full((3, 256, 128), 128, dtype=torch.uint8)
erase = v2.RandomErasing(p=1, scale=(0.3, 0.3), value="random")


def percent(marks):
    """Return the share of True in whole per cent."""
    return round(100 * marks.double().mean().item())


noise = erase(grey)
noise = noise[noise != 128].int()
middle = percent((noise >= 10) & (noise <= 245))
levels = [percent(noise == 0), percent(noise == 1), percent(noise >= 254), middle]
print("bytes: {} % are 0, {} % are 1, {} % are 254 or 255; levels 10 to 245: {} %".format(*levels))

floats = v2.functional.to_dtype(grey, torch.float32, scale=True)
noise = erase(floats)
noise = noise[noise != floats]
outside = percent((noise < 0) | (noise > 1))
print(f"floats of 0 to 1: {outside} % of the noise lies outside 0 to 1")

if not (levels[0] > 60 and levels[2] > 10 and middle == 0 and outside > 60):
    sys.exit(f"the behaviour has changed: {levels}, {outside}")
PY
