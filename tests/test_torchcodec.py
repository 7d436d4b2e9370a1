"""JPEG decoded by TorchCodec: the pixels of Pillow, or Pillow decodes."""

import io
import itertools
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from dccc_lightning.data import decoding, torchcodec_jpeg
from dccc_lightning.data.decoding import decode_image
from dccc_lightning.errors import UnreadableImageError

# TorchCodec that was built for another torch raises an OSError.
decoders = pytest.importorskip("torchcodec.decoders", exc_type=(ImportError, OSError))


@pytest.fixture(autouse=True)
def fresh():
    """Look for TorchCodec anew before and after each test."""
    torchcodec_jpeg._decoder.cache_clear()
    yield
    torchcodec_jpeg._decoder.cache_clear()


def picture(height, width):
    """Return an image with edges and noise."""
    rng = np.random.default_rng(height * width)
    blocks = Image.fromarray(rng.integers(0, 256, (5, 3, 3), dtype=np.uint8))
    smooth = np.asarray(blocks.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    noise = rng.integers(-20, 21, (height, width, 3))
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def by_pillow(path, height, width, **options):
    """Decode as without TorchCodec; return the pixels, or the error's text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchcodec_jpeg, "_decoder", lambda: None)
        return answer(path, height, width, **options)


def answer(path, height, width, **options):
    try:
        return decode_image(path, height, width, **options)
    except UnreadableImageError as error:
        return str(error)


def test_this_build_gives_the_pixels_of_pillow():
    assert torchcodec_jpeg.available()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_jpeg_files_are_decoded_to_the_pixels_of_pillow(tmp_path, mode):
    path = tmp_path / "a.jpg"
    sizes = (32, 16), (33, 17), (97, 64), (16, 1)
    for (height, width), quality, subsampling, progressive in itertools.product(
        sizes, (30, 90, 100), (0, 1, 2), (False, True)
    ):
        picture(height, width).convert(mode).save(
            path, quality=quality, subsampling=subsampling, progressive=progressive
        )
        pixels = torchcodec_jpeg.decode(path)
        assert pixels is not None
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("size", [(48, 32), (24, 16), (70, 90)])
def test_they_are_resized_turned_and_fitted_alike(tmp_path, size, turned, fit):
    path = tmp_path / "a.jpg"
    picture(48, 32).save(path)
    options = {"turned": turned, "fit": fit}
    np.testing.assert_array_equal(decode_image(path, *size, **options),
                                  by_pillow(path, *size, **options))  # fmt: skip


def with_exif(path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(32, 16).save(path, exif=exif)


def with_xmp(path):
    """Let only XMP say that the image is turned, which Pillow reads too."""
    xmp = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>6</tiff:Orientation>'
           b"</x:xmpmeta>")  # fmt: skip
    picture(32, 16).save(path, xmp=xmp)


def two_frames(path):
    """Put a second header of a frame into the file."""
    file = io.BytesIO()
    picture(32, 16).save(file, "JPEG")
    data = file.getvalue()
    at = data.index(b"\xff\xc0")
    path.write_bytes(data[:at] + data[at : at + 19] + data[at:])


def arithmetic(path):
    """Claim arithmetic coding."""
    picture(32, 16).save(path)
    path.write_bytes(path.read_bytes().replace(b"\xff\xc0", b"\xff\xc9", 1))


def huge(path):
    """Claim 65,500 x 65,500 pixels."""
    picture(32, 16).save(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    path.write_bytes(data)


LEFT_TO_PILLOW = {
    "exif": lambda path: with_exif(path, 1),
    "turned": lambda path: with_exif(path, 6),
    "xmp": with_xmp,
    "cmyk": lambda path: picture(32, 16).convert("CMYK").save(path, "JPEG"),
    "png": lambda path: picture(32, 16).save(path, "PNG"),
    "palette": lambda path: picture(32, 16).convert("P").save(path, "PNG"),
    "16 bits": lambda path: Image.fromarray(
        np.arange(512, dtype=np.uint16).reshape(32, 16) * 8
    ).save(path, "PNG"),
    "webp": lambda path: picture(32, 16).save(path, "WEBP"),
    "bmp": lambda path: picture(32, 16).save(path, "BMP"),
    "tiff": lambda path: picture(32, 16).save(path, "TIFF"),
    "two frames": two_frames,
    "arithmetic": arithmetic,
    "huge": huge,
    "empty": lambda path: path.write_bytes(b""),
    "start alone": lambda path: path.write_bytes(b"\xff\xd8\xff"),
    "no image": lambda path: path.write_bytes(b"\xff\xd8\xff" + b"\xe0" * 200),
    "absent": lambda path: None,
}


@pytest.mark.parametrize("kind", LEFT_TO_PILLOW)
def test_other_files_are_left_to_pillow(tmp_path, kind):
    path = tmp_path / "a.jpg"
    LEFT_TO_PILLOW[kind](path)
    assert torchcodec_jpeg.decode(path) is None
    np.testing.assert_equal(answer(path, 32, 16), by_pillow(path, 32, 16))


def test_damaged_files_give_what_pillow_gives(tmp_path):
    path, rng = tmp_path / "a.jpg", np.random.default_rng(0)
    picture(41, 33).save(path, restart_marker_blocks=2)
    whole, decoded, refused = path.read_bytes(), 0, 0
    for _ in range(150):
        data = bytearray(whole)
        if rng.random() < 0.4:
            data = data[: rng.integers(3, len(data))]
        else:
            data[rng.integers(2, len(data))] = rng.integers(256)
        path.write_bytes(data)
        ours, theirs = answer(path, 41, 33), by_pillow(path, 41, 33)
        np.testing.assert_equal(ours, theirs)
        decoded += torchcodec_jpeg.decode(path) is not None
        refused += isinstance(ours, str)
    assert decoded > 20
    assert refused > 20


def test_a_build_with_other_pixels_is_not_used(tmp_path, monkeypatch):
    decode = decoders.decode_jpeg
    monkeypatch.setattr(decoders, "decode_jpeg", lambda data: 255 - decode(data))
    path = tmp_path / "a.jpg"
    picture(32, 16).save(path)
    assert not torchcodec_jpeg.available()
    assert torchcodec_jpeg.decode(path) is None


@pytest.mark.parametrize("error", [RuntimeError, TypeError])
def test_a_build_that_decodes_no_jpeg_is_not_used(tmp_path, monkeypatch, error):
    def refused(data):
        raise error("no JPEG in this build")

    monkeypatch.setattr(decoders, "decode_jpeg", refused)
    path = tmp_path / "a.jpg"
    picture(32, 16).save(path)
    assert not torchcodec_jpeg.available()
    assert decode_image(path, 32, 16).shape == (3, 32, 16)


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_pillow_decodes_where_torchcodec_is_absent_or_does_not_load(tmp_path, monkeypatch, error):
    class Broken:
        def find_spec(self, name, *_):
            if name.startswith("torchcodec"):
                raise error(name)

    for name in [name for name in sys.modules if name.startswith("torchcodec")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    path = tmp_path / "a.jpg"
    picture(32, 16).save(path)
    assert not torchcodec_jpeg.available()
    assert decode_image(path, 32, 16).shape == (3, 32, 16)


def test_pillow_is_not_asked_for_what_torchcodec_decodes(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    picture(32, 16).save(path)
    torchcodec_jpeg.available()
    monkeypatch.setattr(decoding.Image, "open", None)
    assert decode_image(path, 32, 16).shape == (3, 32, 16)
    assert decode_image(path, 16, 16).shape == (3, 16, 16)
