"""Clips drawn for the tests: every frame shows its number, and boxes that move."""

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="needs the extra video")

BITS = 8


def picture(number, width=160, height=120):
    """Return a picture whose left half tells its number, with a red corner at the top right."""
    pixels = np.full((height, width, 3), 110, np.uint8)
    for bit in range(BITS):
        rows = slice(height * bit // BITS, height * (bit + 1) // BITS)
        pixels[rows, : width // 2] = 200 if number >> bit & 1 else 20
    pixels[: height // 4, -width // 4 :] = (220, 30, 30)
    return pixels


def number_of(crop):
    """Return the number that a crop of the left half shows."""
    stripes = np.array_split(np.asarray(crop, np.float32).mean(axis=(1, 2)), BITS)
    return sum((stripe.mean() > 110) << bit for bit, stripe in enumerate(stripes))


def draw(path: Path, count=30, *, size=(160, 120), codec="libx264", rate=30, pts=None, start=0,
         options=None, container_options=None, tags=None, pixel_format="yuv420p"):  # fmt: skip
    """Write a clip; ``pts`` gives the time of each frame in 1 / rate."""
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "2", **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.gop_size = 10
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), "rgb24")
            if tags:
                frame = frame.reformat(
                    format=pixel_format,
                    dst_colorspace=tags["colorspace"],
                    dst_color_range=tags["color_range"],
                )
            frame.pts = start + (number if pts is None else pts[number])
            frame.time_base = Fraction(1, rate)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def turn(path: Path):
    """Write a display matrix of 90 degrees into an MP4 file."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # version 0: 4 + 20 + 16 bytes before the matrix
    one = 0x10000
    content[place : place + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 0x40000000)
    path.write_bytes(content)
    return path
