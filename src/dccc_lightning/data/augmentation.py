"""Flip, padded crop, normalisation and random erasing of a whole batch at once, on its device."""

from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional

from dccc_lightning.common import checks, ranges
from dccc_lightning.data.randomness import uniforms

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of the ImageNet images by channel (RGB, in [0, 1])."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of the ImageNet images by channel (RGB, in [0, 1])."""


def normalize(images: torch.Tensor) -> torch.Tensor:
    """Scale to [0, 1] and normalise with the ImageNet mean and deviation (the test transform).

    Args:
        images: (..., 3, H, W) in 0..255.

    Returns:
        float32 of the same shape.
    """
    scale, shift = _scale_and_shift(images.device)
    return images.float().mul_(scale).sub_(shift)


@cache
def _scale_and_shift(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what normalises; kept, since to bring a constant to a GPU is to wait for it."""
    with torch.inference_mode(False):
        mean = torch.tensor(IMAGENET_MEAN, device=device)[:, None, None]
        std = torch.tensor(IMAGENET_STD, device=device)[:, None, None]
        return 1 / (255 * std), mean / std


@cache
def _frame(height: int, width: int, device: torch.device) -> torch.Tensor:
    return torch.tensor([height, width], device=device)


@dataclass(frozen=True)
class BatchAugmentation:
    """The training transform (METHOD: network and optimisation), each image by its own key.

    Args:
        height: rows of the images, before and after.
        width: columns of the images, before and after.
        flip: probability of a horizontal flip.
        padding: pixels of black added on each side before the random crop.
        erase: probability of random erasing.
        erase_area: range of the erased part of the image; uniform.
        erase_aspect: range of the erased rectangle's height / width; uniform (torchvision draws
            its logarithm uniformly, which is another law).
        erase_attempts: draws of a rectangle until one is smaller than the image; if none is,
            nothing is erased.
        colour: strength of a random gain of each channel, of a common gain and of a random gamma;
            0, as published, for none. Makes a supervised source robust against unseen cameras.
        seed: of the run.
    """

    height: int
    width: int
    flip: float = 0.5
    padding: int = 10
    erase: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)
    erase_aspect: tuple[float, float] = (0.3, 3.33)
    erase_attempts: int = 100
    colour: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        checks.integer("height", self.height, low=1)
        checks.integer("width", self.width, low=1)
        ranges.augmentation(
            self.flip, self.padding, self.erase, self.erase_area, self.erase_aspect,
            self.erase_attempts, self.colour,
        )  # fmt: skip
        checks.integer("seed", self.seed)

    def __call__(self, images: torch.Tensor, keys: torch.Tensor, view: int) -> torch.Tensor:
        """Augment a batch.

        Args:
            images: (B, 3, height, width) uint8.
            keys: (B, m) int64; an image's randomness is a function of (seed, its key, view).
            view: 0 or 1, the view of the image.

        Returns:
            (B, 3, height, width) float32, normalised.

        Raises:
            ValueError: the images have another shape.
        """
        if images.shape[1:] != (3, self.height, self.width):
            raise ValueError(
                f"images must be (B, 3, {self.height}, {self.width}), got {tuple(images.shape)}"
            )
        numbers = uniforms(self.seed, keys.to(images.device), view, 6 + 2 * self.erase_attempts)
        cropped = self._flip_and_crop(images, flip=numbers[:, :1], crop=numbers[:, 1:3])
        if self.colour > 0:
            cropped = self._recolour(
                cropped, uniforms(self.seed, keys.to(images.device), 2 + view, 5)
            )
        return self._erase(
            normalize(cropped),
            number=numbers[:, 3:4],
            corner=numbers[:, 4:6],
            attempts=numbers[:, 6:],
        )

    def _flip_and_crop(
        self, images: torch.Tensor, flip: torch.Tensor, crop: torch.Tensor
    ) -> torch.Tensor:
        """Mirror the images whose number is below the probability, pad, and cut a window.

        Done by looking up where each pixel comes from in the padded image, one gather in all.

        Args:
            images: (B, 3, H, W) uint8.
            flip: (B, 1), decides whether.
            crop: (B, 2), place the window.
        """
        padded = functional.pad(images, [self.padding] * 4)
        corner = (crop * (2 * self.padding + 1)).long()
        rows = corner[:, :1] + torch.arange(self.height, device=images.device)
        columns = corner[:, 1:] + torch.arange(self.width, device=images.device)
        columns = torch.where(flip < self.flip, padded.shape[3] - 1 - columns, columns)
        source = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).flatten(1)
        pixels = padded.flatten(2).gather(2, source[:, None].expand(-1, 3, -1))
        return pixels.view(images.shape)

    def _recolour(self, images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Change exposure, white balance and gamma of each image, as another camera would.

        Args:
            images: (B, 3, H, W) uint8.
            numbers: (B, 5), for three channel gains, the common gain and the gamma.

        Returns:
            (B, 3, H, W) float32 in [0, 255].
        """
        change = (1 + self.colour * (2 * numbers - 1)).float()
        gain = (change[:, :3] * change[:, 3:4])[:, :, None, None]
        gamma = change[:, 4, None, None, None]
        return images.float().div_(255).pow_(gamma).mul_(gain).clamp_(0, 1).mul_(255)

    def _erase(
        self,
        images: torch.Tensor,
        number: torch.Tensor,
        corner: torch.Tensor,
        attempts: torch.Tensor,
    ) -> torch.Tensor:
        """Fill a random rectangle of the chosen images, in place.

        Args:
            images: (B, 3, H, W) float32, normalised.
            number: (B, 1), decides whether.
            corner: (B, 2), place the rectangle.
            attempts: (B, 2 * erase_attempts), pairs of area and aspect.
        """
        heights, widths = self._rectangles(attempts)
        fits = (heights < self.height) & (widths < self.width)
        first = fits.int().argmax(dim=1, keepdim=True)
        size = torch.cat([heights.gather(1, first), widths.gather(1, first)], dim=1)
        frame = _frame(self.height, self.width, images.device)
        start = (corner * (frame - size + 1)).floor()
        chosen = (number < self.erase) & fits.any(dim=1, keepdim=True)
        stop = torch.where(chosen, start + size, start)
        rows, columns = (
            (positions >= start[:, axis, None]) & (positions < stop[:, axis, None])
            for axis, positions in enumerate(
                torch.arange(length, device=images.device) for length in (self.height, self.width)
            )
        )
        inside = rows[:, :, None] & columns[:, None, :]
        # The fill is the mean itself, after normalising: published behaviour, though not zero.
        for channel, value in enumerate(IMAGENET_MEAN):
            images[:, channel].masked_fill_(inside, value)
        return images

    def _rectangles(self, attempts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return heights and widths, (B, erase_attempts) float64 integers, of the attempts."""
        part, ratio = attempts[:, 0::2], attempts[:, 1::2]
        (area_low, area_high), (aspect_low, aspect_high) = self.erase_area, self.erase_aspect
        area = (area_low + (area_high - area_low) * part) * (self.height * self.width)
        aspect = aspect_low + (aspect_high - aspect_low) * ratio
        return (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
