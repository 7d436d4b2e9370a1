"""Decoding against torchvision, damaged files, and the cache that threads and workers share."""

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from dccc_lightning.data import image_cache as module
from dccc_lightning.data.decoding import decode_image, resize_image
from dccc_lightning.data.image_cache import ImageStore, available_memory
from dccc_lightning.data.image_datasets import OrderedImages, batch_loader
from dccc_lightning.errors import UnreadableImageError, UserError

HEIGHT, WIDTH = 32, 16


def write_images(folder, number=6, size=(24, 60)):
    rng = np.random.default_rng(0)
    paths = []
    for index in range(number):
        pixels = rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
        path = folder / f"{index}.{'png' if index % 2 else 'jpg'}"
        Image.fromarray(pixels).resize(size).save(path)
        paths.append(path)
    return paths


def expected(path):
    image = Image.open(path).convert("RGB")
    resize = transforms.Resize((HEIGHT, WIDTH), interpolation=InterpolationMode.BICUBIC)
    return transforms.PILToTensor()(resize(image))


def damage(folder):
    """Return files that cannot be decoded, by kind."""
    good = write_images(folder, 1, (200, 400))[0].read_bytes()
    contents = {"truncated.jpg": good[: len(good) // 2], "empty.jpg": b"", "text.jpg": b"hello"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.jpg").mkdir()
    return [*(folder / name for name in contents), folder / "folder.jpg", folder / "missing.jpg"]


@pytest.mark.parametrize("size", [(24, 60), (5, 7), (WIDTH, HEIGHT), (300, 200)])
def test_decoding_agrees_with_torchvision(tmp_path, size):
    for path in write_images(tmp_path, 2, size):
        image = decode_image(path, HEIGHT, WIDTH)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert torch.equal(torch.from_numpy(image), expected(path))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_other_colour_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.open(write_images(tmp_path)[1]).convert(mode).save(path)
    assert torch.equal(torch.from_numpy(decode_image(path, HEIGHT, WIDTH)), expected(path))


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_sixteen_bits_are_scaled_to_eight(dtype):
    grey = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    deep = Image.fromarray(grey.astype(dtype) * np.array(257, dtype=dtype))
    assert deep.mode.startswith("I;16")
    np.testing.assert_array_equal(resize_image(deep, HEIGHT, WIDTH), [grey] * 3)


def test_a_file_of_sixteen_bits_is_not_white(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", HEIGHT, WIDTH), [grey] * 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("png", "RGB"),
        ("png", "P"),
        ("png", "I;16"),
        ("jpg", "CMYK"),
        ("webp", "RGB"),
        ("tif", "RGB"),
        ("tif", "I;16"),
        ("tif", "CMYK"),
    ],
)
def test_images_are_upright_as_exif_has_it(tmp_path, kind, mode, orientation):
    plain, path = write_images(tmp_path, 1, (20, 60))[0], tmp_path / f"turned.{kind}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.open(plain).convert("L" if mode == "I;16" else mode).convert(mode).save(path, exif=exif)
    upright = resize_image(ImageOps.exif_transpose(Image.open(path)), HEIGHT, WIDTH)
    np.testing.assert_array_equal(decode_image(path, HEIGHT, WIDTH), upright)


def test_damaged_exif_is_no_reason_to_refuse_an_image(tmp_path):
    plain, path = write_images(tmp_path, 1)[0], tmp_path / "odd.jpg"
    for exif in (b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03"):
        Image.open(plain).save(path, exif=exif, quality=100)
        assert decode_image(path, HEIGHT, WIDTH).shape == (3, HEIGHT, WIDTH)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_of_32_bits_are_an_image_or_stretched(dtype):
    grey = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(dtype)
    fits = np.minimum(grey, 255)
    found = resize_image(Image.fromarray(fits), HEIGHT, WIDTH)
    np.testing.assert_array_equal(found, [fits.astype(np.uint8)] * 3)
    whole = np.rint(grey / grey.max() * 255).astype(np.uint8)
    for values in (grey, grey - 1000, grey + 30_000):
        found = resize_image(Image.fromarray(values), HEIGHT, WIDTH)
        np.testing.assert_array_equal(found, [whole] * 3)


def test_floats_up_to_one_are_no_black_image_and_those_that_are_not_finite_are_refused():
    grey = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    found = resize_image(Image.fromarray(grey), HEIGHT, WIDTH)
    np.testing.assert_array_equal(found, [np.rint(255 * grey).astype(np.uint8)] * 3)
    grey[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        resize_image(Image.fromarray(grey), HEIGHT, WIDTH)


@pytest.mark.parametrize("white", [1, 0], ids=["black is zero", "white is zero"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_thermal_tiff_has_contrast_and_its_polarity(tmp_path, dtype, white):
    """Centikelvins of 22 to 37 degrees: 6 grey levels if scaled by 65,535."""
    heat = np.linspace(29_500, 31_000, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(dtype)
    Image.fromarray(heat).save(tmp_path / "a.tif", tiffinfo={262: white})
    with Image.open(tmp_path / "a.tif") as image:
        assert image.tag_v2[262] == white
    (found, *_) = decode_image(tmp_path / "a.tif", HEIGHT, WIDTH).astype(int)
    if not white:
        found = 255 - found
    assert (found.min(), found.max()) == (0, 255)
    assert np.abs(found.ravel() - np.linspace(0, 255, found.size)).max() < 1


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "jpeg"])
def test_tiffs_of_every_compression_and_their_first_page(tmp_path, compression):
    red, blue = (Image.new("RGB", (16, 32), colour) for colour in ("red", "blue"))
    red.save(
        tmp_path / "a.TIFF", format="TIFF", compression=compression, save_all=True,
        append_images=[blue],
    )  # fmt: skip
    pixels = decode_image(tmp_path / "a.TIFF", HEIGHT, WIDTH)
    assert np.abs(pixels.mean(axis=(1, 2)) - [255, 0, 0]).max() < 3


def test_an_image_of_another_kind_is_named(tmp_path):
    Image.new("RGB", (8, 16)).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.jpg")
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: GIF, an unsupported format"):
        decode_image(tmp_path / "a.jpg", HEIGHT, WIDTH)


def test_unreadable_files_are_named_in_one_line(tmp_path):
    for path in damage(tmp_path):
        with pytest.raises(UnreadableImageError) as caught:
            decode_image(path, HEIGHT, WIDTH)
        message = str(caught.value)
        assert message.startswith(f"cannot read the image {path}: ")
        assert "\n" not in message
    with pytest.raises(UnreadableImageError, match="No such file"):
        decode_image(tmp_path / "missing.jpg", HEIGHT, WIDTH)


@pytest.mark.parametrize("cache", ["auto", "ram", "none"])
@pytest.mark.parametrize("preload", [True, False])
def test_load(tmp_path, cache, preload):
    paths = write_images(tmp_path)
    store = ImageStore(paths, HEIGHT, WIDTH, cache=cache)
    assert store.cached == (cache != "none")
    assert len(store) == len(paths)
    if preload:
        assert store.preload(threads=2) == []
    for indices in ([4, 0, 4], np.array([5]), torch.tensor([2, 1]), []):
        images = store.load(indices)
        assert images.dtype == torch.uint8
        assert images.shape == (len(indices), 3, HEIGHT, WIDTH)
        for image, index in zip(images, indices, strict=True):
            assert torch.equal(image, expected(paths[int(index)]))
        images.zero_()


def test_the_cache_decodes_once_and_none_each_time(tmp_path):
    paths = write_images(tmp_path)
    cached = ImageStore(paths, HEIGHT, WIDTH, cache="ram")
    direct = ImageStore(paths, HEIGHT, WIDTH, cache="none")
    before = cached.load([0, 1])
    for path in paths:
        path.unlink()
    assert torch.equal(cached.load([1, 0]), before.flip(0))
    for store, index in ((cached, 2), (direct, 0)):
        with pytest.raises(UnreadableImageError):
            store.load([index])


class Shared(OrderedImages):
    """Returns whether the batch is in shared memory before it is sent."""

    def __getitems__(self, positions):
        images, _ = super().__getitems__(positions)
        return images, torch.tensor([images.is_shared()])


@pytest.mark.parametrize("cache", ["ram", "none"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_makes_its_batch_in_shared_memory(tmp_path, cache, workers):
    paths = write_images(tmp_path)
    store = ImageStore(paths, HEIGHT, WIDTH, cache=cache)
    loader = batch_loader(Shared(store), workers, batch_sampler=[[4, 0], [5, 5]])
    batches = list(loader)
    for (images, shared), chosen in zip(batches, ([4, 0], [5, 5]), strict=True):
        assert torch.equal(images, torch.stack([expected(paths[index]) for index in chosen]))
        assert shared.item() == (workers > 0)


def test_auto_depends_on_the_memory(tmp_path, monkeypatch):
    paths = write_images(tmp_path)
    needed = len(paths) * 3 * HEIGHT * WIDTH
    assert available_memory() > needed
    for available, cached in ((2 * needed, True), (2 * needed - 1, False)):
        monkeypatch.setattr(module, "available_memory", lambda value=available: value)
        assert ImageStore(paths, HEIGHT, WIDTH, memory_fraction=0.5).cached == cached
    assert ImageStore(paths, HEIGHT, WIDTH, cache="ram").cached


def test_too_little_shared_memory(tmp_path, monkeypatch):
    paths = write_images(tmp_path)
    full = type("Usage", (), {"free": 100})()
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: full)
    assert not ImageStore(paths, HEIGHT, WIDTH).cached
    with pytest.raises(UserError, match="shared memory"):
        ImageStore(paths, HEIGHT, WIDTH, cache="ram")


@pytest.mark.parametrize(("cache", "kinds"), [("ram", 5), ("none", 4)])
def test_preload_reports_what_cannot_be_read(tmp_path, cache, kinds):
    bad = damage(tmp_path)
    paths = [*bad[:2], *write_images(tmp_path, 2), *bad[2:]]
    store = ImageStore(paths, HEIGHT, WIDTH, cache=cache)
    found = store.preload(progress=True, threads=3)
    # A truncated file has a good header: without a cache only decoding it shows the damage.
    assert [item.index for item in found] == [0, 1, 4, 5, 6][-kinds:]
    for item in found:
        assert str(paths[item.index]) in str(item.error)


def test_select_shares_the_cache(tmp_path):
    paths = write_images(tmp_path)
    paths.insert(1, tmp_path / "missing.jpg")
    store = ImageStore(paths, HEIGHT, WIDTH, cache="ram")
    bad = {item.index for item in store.preload()}
    assert bad == {1}
    kept = store.select([index for index in range(len(store)) if index not in bad])
    wanted = torch.stack([expected(path) for path in paths if path.exists()])
    for path in paths:
        path.unlink(missing_ok=True)
    assert len(kept) == 6
    assert torch.equal(kept.load(range(6)), wanted)
    assert torch.equal(kept.select([5, 2]).load([1, 0]), wanted[[2, 5]])
    assert kept.preload() == []


def test_threads_may_load_at_once(tmp_path):
    paths = write_images(tmp_path, 12)
    store = ImageStore(paths, HEIGHT, WIDTH, cache="ram")
    wanted = torch.stack([expected(path) for path in paths])
    with ThreadPoolExecutor(8) as pool:
        for images in pool.map(lambda _: store.load(range(12)), range(16)):
            assert torch.equal(images, wanted)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_fill_one_cache(tmp_path, method):
    paths = write_images(tmp_path)
    store = ImageStore(paths, HEIGHT, WIDTH, cache="ram")
    worker = multiprocessing.get_context(method).Process(target=store.preload)
    worker.start()
    worker.join(timeout=120)
    assert worker.exitcode == 0
    wanted = torch.stack([expected(path) for path in paths])
    for path in paths:
        path.unlink()
    assert torch.equal(store.load(range(6)), wanted), "what the worker decoded is here"


def test_pickling(tmp_path):
    paths = write_images(tmp_path)
    copy = pickle.loads(pickle.dumps(ImageStore(paths, HEIGHT, WIDTH, cache="none")))
    assert torch.equal(copy.load([3])[0], expected(paths[3]))


def test_arguments_are_checked():
    for arguments in (
        {"height": 0},
        {"width": -1},
        {"cache": "disk"},
        {"memory_fraction": 1.5},
    ):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            ImageStore([Path("a")], **{"height": HEIGHT, "width": WIDTH} | arguments)
    with pytest.raises(ValueError, match="threads"):
        ImageStore([], HEIGHT, WIDTH).preload(threads=-1)
