#!/usr/bin/env bash
# scipy 1.17.1, scipy.io.loadmat, and the lists of MARS or CUHK03 (MAT-file, level 5)
#
# MATLAB stores a matrix of doubles in the smallest integer type that holds its values, and says in
# the file that it is a matrix of doubles. Expected: doubles, as in MATLAB. What happens: the array
# has the type of the storage, here uint8, and NumPy's integers wrap around: 2001 becomes 209.
# Cost: "10 x identity + camera" or "identity - 1" (a distractor is 0) joins different people. The
# first is right on a full list, whose frame numbers need 32 bits, and wrong on an excerpt of it.
# `mat_dtype=True` gives what MATLAB has.
#
# Seen:
#   type: uint8, with mat_dtype=True: float64
#   10 x identity + camera of (200, 1), (200, 2), (0, 9): [209, 210, 9], right: [2001, 2002, 9]
#   identity - 1: [199, 199, 255], right: [199, 199, -1]
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(scipy==1.17.1 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import struct
import sys
from pathlib import Path

import numpy as np
from scipy.io import loadmat


def element(kind, data):
    """One data element of a MAT-file: kind, length, data, padded to 8 bytes."""
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


tracks = np.array([[1, 17, 200, 1], [18, 60, 200, 2], [61, 99, 0, 9]], np.uint8)
matrix = (
    element(6, struct.pack("<II", 6, 0))  # flags: class 6, a matrix of doubles
    + element(5, struct.pack("<ii", *tracks.shape))
    + element(1, b"tracks")
    + element(2, tracks.tobytes("F"))  # type 2: stored in unsigned bytes
)
header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)
file = Path(sys.argv[1]) / "tracks_info.mat"
file.write_bytes(header + element(14, matrix))


def keys(table):
    identity, camera = table[:, 2], table[:, 3]
    return [[int(x) for x in row] for row in (10 * identity + camera, identity - 1)]


stored, right = loadmat(file)["tracks"], loadmat(file, mat_dtype=True)["tracks"]
print(f"type: {stored.dtype}, with mat_dtype=True: {right.dtype}")
print("10 x identity + camera of (200, 1), (200, 2), (0, 9):", keys(stored)[0], end=", ")
print("right:", keys(right)[0])
print("identity - 1:", keys(stored)[1], end=", ")
print("right:", keys(right)[1])

seen = (str(stored.dtype), keys(stored), keys(right))
expected = ("uint8", [[209, 210, 9], [199, 199, 255]], [[2001, 2002, 9], [199, 199, -1]])
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
