"""The training transform against a plain implementation of its law and against torchvision."""

import math
import random

import pytest
import torch
from scipy import stats
from torchvision.transforms import functional as vision

from dccc_lightning.data.augmentation import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BatchAugmentation,
    normalize,
)
from dccc_lightning.data.randomness import uniforms

H, W = 64, 32
ALPHA = 1e-5  # of the statistical tests; the draws are fixed, so they pass always or never


def keys_of(number, columns=2, start=0):
    """Keys as training has them: neighbouring integers."""
    return torch.stack([torch.arange(start, start + number) + c for c in range(columns)], dim=1)


def random_images(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, 3, H, W), dtype=torch.uint8, generator=generator)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    keys, images = keys_of(64), random_images(64)
    assert torch.equal(uniforms(1, keys.cuda(), 0, 300).cpu(), uniforms(1, keys, 0, 300))
    augmentation = BatchAugmentation(H, W)
    torch.testing.assert_close(
        augmentation(images.cuda(), keys.cuda(), 1).cpu(), augmentation(images, keys, 1)
    )


def test_normalize_agrees_with_torchvision():
    images = random_images(4)
    wanted = vision.normalize(images / 255, IMAGENET_MEAN, IMAGENET_STD)
    torch.testing.assert_close(normalize(images), wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(normalize(images[0]), wanted[0], rtol=1e-6, atol=1e-6)


def probe(number):
    """Images whose pixels tell their position: red the row, green the column, blue 255."""
    rows = torch.arange(1, H + 1, dtype=torch.uint8)[:, None].expand(H, W)
    columns = torch.arange(1, W + 1, dtype=torch.uint8).expand(H, W)
    image = torch.stack([rows, columns, torch.full((H, W), 255, dtype=torch.uint8)])
    return image.expand(number, -1, -1, -1)


def pixels_of(augmented):
    mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
    std = torch.tensor(IMAGENET_STD)[:, None, None]
    return ((augmented * std + mean) * 255).round().int()


def geometry_of(augmented):
    """Read flip, top and left of the crop back from augmented probes."""
    pixels = pixels_of(augmented)
    centre = pixels[:, :, H // 2, W // 2]
    flipped = pixels[:, 1, H // 2, W // 2 + 1] < centre[:, 1]
    rows, columns = centre[:, 0] - 1, centre[:, 1] - 1
    columns = torch.where(flipped, W - 1 - columns, columns)
    return flipped, rows - H // 2, columns - W // 2


def test_flip_pad_and_crop_agree_with_torchvision():
    number, padding = 40, 6
    keys, images = keys_of(number), random_images(number)
    augmentation = BatchAugmentation(H, W, padding=padding, erase=0.0)
    flipped, tops, lefts = geometry_of(augmentation(probe(number), keys, 0))
    assert 0 < flipped.sum() < number
    augmented = augmentation(images, keys, 0)
    assert augmented.dtype == torch.float32
    for index, image in enumerate(images):
        wanted = vision.hflip(image) if flipped[index] else image
        wanted = vision.pad(wanted, [padding], fill=0)
        wanted = vision.crop(wanted, tops[index] + padding, lefts[index] + padding, H, W)
        wanted = vision.normalize(wanted / 255, IMAGENET_MEAN, IMAGENET_STD)
        torch.testing.assert_close(augmented[index], wanted, rtol=1e-6, atol=1e-6)


def test_flips_and_offsets_are_uniform_and_independent():
    number, padding = 4_000, 3
    images = probe(number)
    augmentation = BatchAugmentation(H, W, flip=0.3, padding=padding, erase=0.0)
    flipped, tops, lefts = geometry_of(augmentation(images, keys_of(number), 0))
    assert stats.binomtest(int(flipped.sum()), number, 0.3).pvalue > ALPHA
    side = 2 * padding + 1
    cells = torch.bincount((tops + padding) * side + lefts + padding, minlength=side**2)
    assert len(cells) == side**2
    assert stats.chisquare(cells.numpy()).pvalue > ALPHA
    correlation = torch.corrcoef(torch.stack([flipped.double(), tops.double(), lefts.double()]))
    assert correlation.fill_diagonal_(0).abs().max() < 4.5 / math.sqrt(number)


def rectangles_of(augmented):
    """Return (top, left, height, width) of the erased part of augmented black images."""
    found = []
    fill = torch.tensor(IMAGENET_MEAN)[:, None, None]
    for image in augmented:
        inside = (image == fill).all(dim=0)
        if not inside.any():
            found.append(None)
            continue
        rows, columns = inside.any(dim=1).nonzero(), inside.any(dim=0).nonzero()
        top, left = int(rows[0]), int(columns[0])
        height, width = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
        assert inside.sum() == height * width, "a full rectangle"
        found.append((top, left, height, width))
    return found


def plain_rectangle(generator, height, width, erase, area_range, aspect_range, attempts):
    """Random erasing as METHOD tells it, one image at a time."""
    if generator.random() >= erase:
        return None
    for _ in range(attempts):
        area = generator.uniform(*area_range) * height * width
        aspect = generator.uniform(*aspect_range)
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if w < width and h < height:
            return generator.randint(0, height - h), generator.randint(0, width - w), h, w
    return None


@pytest.mark.parametrize(
    ("area", "aspect", "attempts"),
    [((0.02, 0.4), (0.3, 3.33), 100), ((0.02, 0.4), (0.3, 3.33), 1), ((0.5, 1.0), (0.1, 4.0), 2)],
)
def test_erasing_follows_the_law(area, aspect, attempts):
    number = 3_000
    augmentation = BatchAugmentation(
        H, W, erase=0.7, erase_area=area, erase_aspect=aspect, erase_attempts=attempts
    )
    black = torch.zeros(1, 3, H, W, dtype=torch.uint8).expand(number, -1, -1, -1)
    found = rectangles_of(augmentation(black, keys_of(number), 0))
    generator = random.Random(1)
    wanted = [
        plain_rectangle(generator, H, W, 0.7, area, aspect, attempts) for _ in range(4 * number)
    ]
    erased = [box for box in found if box]
    expected = [box for box in wanted if box]
    rate = len(expected) / len(wanted)
    assert stats.binomtest(len(erased), number, rate).pvalue > 1e-3
    for measure in (
        lambda box: box[0],
        lambda box: box[1],
        lambda box: box[2],
        lambda box: box[3],
        lambda box: box[2] * box[3],
        lambda box: box[2] / box[3],
        lambda box: box[0] / (H - box[2]),
        lambda box: box[1] / (W - box[3]),
    ):
        samples = [measure(box) for box in erased], [measure(box) for box in expected]
        assert stats.ks_2samp(*samples).pvalue > 1e-3
    assert min(box[0] for box in erased) == 0
    assert max(box[0] + box[2] for box in erased) == H, "the last row can be erased"
    assert max(box[1] + box[3] for box in erased) == W


def test_erasing_leaves_the_rest_alone():
    keys, images = keys_of(60), random_images(60)
    without = BatchAugmentation(H, W, erase=0.0)(images, keys, 0)
    erased = BatchAugmentation(H, W, erase=1.0)(images, keys, 0)
    fill = torch.tensor(IMAGENET_MEAN)[:, None, None].expand_as(without)
    changed = without != erased
    assert changed.flatten(1).any(dim=1).all()
    assert torch.equal(erased[changed], fill[changed])


def test_nothing_is_erased_if_no_rectangle_fits():
    images = random_images(20)
    too_large = BatchAugmentation(H, W, erase=1.0, erase_area=(1.0, 1.0), erase_aspect=(2.0, 2.0))
    without = BatchAugmentation(H, W, erase=0.0)
    assert torch.equal(too_large(images, keys_of(20), 0), without(images, keys_of(20), 0))


def test_without_randomness_it_is_the_test_transform():
    images = random_images(3)
    still = BatchAugmentation(H, W, flip=0.0, padding=0, erase=0.0)
    assert torch.equal(still(images, keys_of(3), 0), normalize(images))
    mirror = BatchAugmentation(H, W, flip=1.0, padding=0, erase=0.0)
    assert torch.equal(mirror(images, keys_of(3), 0), normalize(images.flip(-1)))


def test_the_input_is_not_changed():
    images = random_images(5)
    BatchAugmentation(H, W)(images, keys_of(5), 0)
    assert torch.equal(images, random_images(5))


def test_an_image_depends_on_its_key_and_view_alone():
    keys, images = keys_of(16, columns=3), random_images(16)
    augmentation = BatchAugmentation(H, W, seed=5)
    whole = augmentation(images, keys, 0)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(augmentation(images[order], keys[order], 0), whole[order])
    assert torch.equal(augmentation(images[7:9], keys[7:9], 0), whole[7:9])
    same = images[:1].expand(16, -1, -1, -1)
    different = {
        "view": (augmentation(same, keys, 0), augmentation(same, keys, 1)),
        "seed": (augmentation(same, keys, 0), BatchAugmentation(H, W, seed=6)(same, keys, 0)),
        "key": (augmentation(same, keys, 0), augmentation(same, keys + 1, 0)),
    }
    for name, (first, second) in different.items():
        assert (first != second).flatten(1).any(dim=1).sum() >= 15, name


def test_an_empty_batch():
    assert BatchAugmentation(H, W)(random_images(0), keys_of(0), 0).shape == (0, 3, H, W)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"height": 0}, "height"),
        ({"flip": 1.5}, "flip"),
        ({"padding": -1}, "padding"),
        ({"erase": -0.1}, "erase"),
        ({"erase_area": (0.4, 0.02)}, "erase_area"),
        ({"erase_area": (0.4, 1.2)}, "erase_area"),
        ({"erase_aspect": (0.0, 1.0)}, "erase_aspect"),
        ({"erase_attempts": 0}, "erase_attempts"),
    ],
)
def test_arguments_are_checked(arguments, named):
    with pytest.raises(ValueError, match=named):
        BatchAugmentation(**{"height": H, "width": W} | arguments)


def test_images_of_another_size():
    with pytest.raises(ValueError, match=r"must be \(B, 3, 128, 64\), got \(2, 3, 64, 32\)"):
        BatchAugmentation(128, 64)(random_images(2), keys_of(2), 0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"flip": "both", "padding": 0, "erase": 1.0, "erase_attempts": 1, "seed": -3},
        {"erase": 0.0, "rotate": "90"},
    ],
)
@pytest.mark.parametrize("size", [(H, W), (31, 17)])
def test_the_pass_over_bytes_gives_the_bits_of_the_tensors_operations(settings, size):
    augmentation, keys = BatchAugmentation(*size, **settings), keys_of(50, 3)
    shape = (50, 4, 3, *size) if augmentation.rotates else (50, 3, *size)
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1)).byte()
    for view in (0, 1):
        expected = augmentation(images.float(), keys, view)
        assert torch.equal(augmentation(images, keys, view), expected)
