#!/usr/bin/env bash
# av 18.1.0, a recording that was cut off
#
# The last third of an H.264 video in MP4 is missing, as after a full disk. Expected: decoding it
# tells, in one thread and in several, since threads are a matter of speed. What happens: with the
# default `thread_type` decode() raises InvalidDataError at the damaged packet; with "AUTO", which
# the documentation recommends for speed, the loop ends as at the end of a whole video. The frames
# are the same; that some are missing is told by `packet.is_corrupt` of demux() alone.
# Cost: a program that was made faster no longer sees damaged files. The count in the header does
# not help by itself: where an edit list hides frames, fewer come than it says, and nothing is lost.
#
# Seen:
#   thread_type default: 67 of 120 frames, error: InvalidDataError, corrupt: 1
#   thread_type AUTO: 67 of 120 frames, error: None, corrupt: 1
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(av==18.1.0 numpy==2.4.6)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - "$d" <<'PY'
import sys
from pathlib import Path

import av
import numpy as np

path = Path(sys.argv[1]) / "hall.mp4"
with av.open(str(path), "w", container_options={"movflags": "faststart"}) as container:
    stream = container.add_stream("libx264", rate=30)
    stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    for number in range(120):
        picture = np.roll(noise, 3 * number, axis=1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
    container.mux(stream.encode())
path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])

seen = {}
for kind in ("default", "AUTO"):
    count, error = 0, None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        header = stream.frames
        if kind != "default":
            stream.thread_type = kind
        try:
            for _ in container.decode(stream):
                count += 1
        except av.InvalidDataError as caught:
            error = type(caught).__name__
    with av.open(str(path)) as container:
        corrupt = sum(packet.is_corrupt for packet in container.demux(video=0))
    seen[kind] = error
    print(f"thread_type {kind}: {count} of {header} frames, error: {error}, corrupt: {corrupt}")

if seen != {"default": "InvalidDataError", "AUTO": None}:
    sys.exit(f"the behaviour has changed: {seen}")
PY
