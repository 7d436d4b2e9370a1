#!/usr/bin/env bash
# imageio 2.38.1, its two plugins for video: FFMPEG (imageio-ffmpeg 0.8.1) and pyav (av 18.1.0)
#
# A camera that writes frames when something moves has a variable rate: 60 frames, each tenth of
# them followed by a pause. Expected: both plugins give the 60 frames. What happens: pyav gives 60,
# FFMPEG gives 96, since ffmpeg fills up to a constant rate and repeats and drops frames for it.
# Cost: a file of tracks numbers frames; frame 20 is another picture by one plugin than by the
# other, crops are cut beside the person, and frames that never reach the user have boxes.
#
# Seen:
#   frames: pyav 60, FFMPEG 96
#   frame 20 holds the number: pyav 20, FFMPEG 10
#   frames that FFMPEG never shows: 20 of 60
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(imageio==2.38.1 imageio-ffmpeg==0.8.1 av==18.1.0 psutil==7.2.2 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys
from fractions import Fraction
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np

clip = str(Path(sys.argv[1]) / "clip.mp4")
tick = Fraction(1, 600)
with av.open(clip, "w") as container:
    stream = container.add_stream("libx264", rate=30, options={"crf": "1"})
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    stream.time_base = stream.codec_context.time_base = tick
    time = 0
    for number in range(60):  # the grey of a frame is four times its number
        picture = np.full((48, 64, 3), 4 * number, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = time, tick
        container.mux(stream.encode(frame))
        time += 20 if number % 10 else 140
    container.mux(stream.encode())


def numbers(plugin):
    return [round(float(frame.mean()) / 4) for frame in iio.imiter(clip, plugin=plugin)]


pyav, ffmpeg = numbers("pyav"), numbers("FFMPEG")
missing = set(range(60)) - set(ffmpeg)
print(f"frames: pyav {len(pyav)}, FFMPEG {len(ffmpeg)}")
print(f"frame 20 holds the number: pyav {pyav[20]}, FFMPEG {ffmpeg[20]}")
print(f"frames that FFMPEG never shows: {len(missing)} of 60")

seen = (pyav == list(range(60)), len(ffmpeg), ffmpeg[20], len(missing))
expected = (True, 96, 10, 20)
if seen != expected:
    sys.exit(f"the behaviour has changed: {seen}")
PY
