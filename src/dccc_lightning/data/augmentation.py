"""Rotation, flip, padded crop, normalisation and erasing of batches, on their device."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from dccc_lightning.common import checks, ranges, turning_ranges
from dccc_lightning.data.randomness import stream_state, uniforms

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of the ImageNet images by channel (RGB, in [0, 1])."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of the ImageNet images by channel (RGB, in [0, 1])."""


def normalize(images: torch.Tensor) -> torch.Tensor:
    """Scale to [0, 1] and normalise by the ImageNet mean and deviation (the test transform).

    Args:
        images: (..., 3, H, W) in 0..255.

    Returns:
        float32 of the same shape.
    """
    scale, shift = _scale_and_shift(images.device)
    return images.float().mul_(scale).sub_(shift)


@cache
def _scale_and_shift(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and shift of the normalisation, cached: a copy to the GPU synchronises."""
    with torch.inference_mode(False):
        mean = torch.tensor(IMAGENET_MEAN, device=device)[:, None, None]
        std = torch.tensor(IMAGENET_STD, device=device)[:, None, None]
        return 1 / (255 * std), mean / std


@cache
def _colours() -> NDArray[np.float32]:
    """Return scale and shift of the normalisation and the fill of erased pixels, (3, 3)."""
    scale, shift = _scale_and_shift(torch.device("cpu"))
    fill = np.array(IMAGENET_MEAN, dtype=np.float32)  # as published: in normalised space, not zero
    return np.stack([scale.flatten().numpy(), shift.flatten().numpy(), fill])


@cache
def _frame(height: int, width: int, device: torch.device) -> torch.Tensor:
    return torch.tensor([height, width], device=device)


@dataclass(frozen=True)
class BatchAugmentation:
    """Training transform, with random numbers from a key per image.

    Args:
        height: Height of the images in pixels, before and after.
        width: Width of the images in pixels, before and after.
        flip: Probability of a horizontal flip; or ``horizontal``, ``vertical``, ``both`` (each with
            probability 0.5) or ``none``.
        padding: Black pixels added on each side before the random crop.
        erase: Probability of random erasing.
        erase_area: Range of the erased share of the image, sampled uniformly.
        erase_aspect: Range of height / width of the erased rectangle, sampled uniformly
            (torchvision samples its logarithm uniformly).
        erase_attempts: Number of rectangles drawn until one fits into the image; if none fits,
            nothing is erased.
        colour: Strength of random channel gains, a common gain and a random gamma; 0, as
            published, disables them. Makes a supervised model robust to unseen cameras.
        seed: Seed of the run.
        rotate: Random rotation: ``none``, ``90`` (quarter turns) or ``any`` (quarter turns, and up
            to 45 degrees to either side of them, with black corners).
    """

    height: int
    width: int
    flip: float | str = 0.5
    padding: int = 10
    erase: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)
    erase_aspect: tuple[float, float] = (0.3, 3.33)
    erase_attempts: int = 100
    colour: float = 0.0
    seed: int = 0
    rotate: str | int = "none"

    def __post_init__(self) -> None:
        checks.integer("height", self.height, low=1)
        checks.integer("width", self.width, low=1)
        ranges.augmentation(
            self.flip, self.padding, self.erase, self.erase_area, self.erase_aspect,
            self.erase_attempts, self.colour, self.rotate,
        )  # fmt: skip
        checks.integer("seed", self.seed)

    @property
    def rotates(self) -> bool:
        """True if it needs the quarter turns of the images."""
        return str(self.rotate) != "none"

    def __call__(self, images: torch.Tensor, keys: torch.Tensor, view: int) -> torch.Tensor:
        """Augment a batch.

        Args:
            images: (B, 3, height, width) uint8; or (B, 4, 3, height, width), the quarter turns,
                which ``rotate`` needs.
            keys: (B, m) int64; an image's random numbers are a function of (seed, its key, view).
            view: 0 or 1.

        Returns:
            (B, 3, height, width) float32, normalised.

        Raises:
            ValueError: The images have another shape.
        """
        turns = "4, " if self.rotates or images.ndim == 5 else ""
        if images.ndim != 4 + bool(turns) or images.shape[-3:] != (3, self.height, self.width):
            raise ValueError(
                f"images must be (B, {turns}3, {self.height}, {self.width}), got "
                f"{tuple(images.shape)}"
            )
        keys = keys.to(images.device)
        if images.ndim == 5:
            turn, angle = uniforms(self.seed, keys, 4 + view, 2).unbind(dim=1)
            images = self._rotate(images, turn, angle) if self.rotates else images[:, 0]
        if images.device.type == "cpu" and images.dtype == torch.uint8 and self.colour == 0:
            return self._in_one_pass(images, keys, view)
        numbers = uniforms(self.seed, keys, view, 6 + 2 * self.erase_attempts)
        pose = uniforms(self.seed, keys, 4 + view, 3)
        cropped = self._flip_and_crop(
            images, torch.stack([numbers[:, 0], pose[:, 2]], dim=1), crop=numbers[:, 1:3]
        )
        if self.colour > 0:
            cropped = self._recolour(cropped, uniforms(self.seed, keys, 2 + view, 5))
        return self._erase(
            normalize(cropped),
            number=numbers[:, 3:4],
            corner=numbers[:, 4:6],
            attempts=numbers[:, 6:],
        )

    def _in_one_pass(self, images: torch.Tensor, keys: torch.Tensor, view: int) -> torch.Tensor:
        """Return the same as the tensors' operations, by a compiled kernel."""
        from dccc_lightning.data.augmentation_kernel import augment  # noqa: PLC0415  imports Numba

        out = torch.empty(images.shape, dtype=torch.float32)
        states = [stream_state(self.seed, stream) for stream in (view, 4 + view)]
        augment(
            images.contiguous().numpy(),
            keys.contiguous().numpy().view(np.uint64),
            np.array(states).view(np.uint64),
            turning_ranges.flips(self.flip),
            self.padding,
            (float(self.erase), self.erase_attempts, *self.erase_area, *self.erase_aspect),
            _colours(),
            out.numpy(),
        )
        return out

    def _rotate(
        self, images: torch.Tensor, turn: torch.Tensor, angle: torch.Tensor
    ) -> torch.Tensor:
        """Return (B, 3, H, W): one of the quarter turns of each image, with ``any`` turned further.

        Args:
            images: (B, 4, 3, H, W) uint8.
            turn: (B,) random numbers that select the quarter turn.
            angle: (B,) random numbers that determine the further angle.
        """
        chosen = images[torch.arange(len(images), device=images.device), (4 * turn).long()]
        if self.rotate != "any":
            return chosen
        angles = ((angle - 0.5) * math.pi / 2).float()
        cosine, sine, none = angles.cos(), angles.sin(), torch.zeros_like(angles)
        aspect = self.height / self.width
        rows = cosine, -sine * aspect, none, sine / aspect, cosine, none
        grid = functional.affine_grid(
            torch.stack(rows, dim=1).view(-1, 2, 3), list(chosen.shape), align_corners=False
        )
        return functional.grid_sample(chosen.float(), grid, align_corners=False)

    def _flip_and_crop(
        self, images: torch.Tensor, flip: torch.Tensor, crop: torch.Tensor
    ) -> torch.Tensor:
        """Flip images at random, pad, and crop, as one gather of source pixels.

        Args:
            images: (B, 3, H, W).
            flip: (B, 2) random numbers that select the images to flip horizontally and vertically.
            crop: (B, 2) random numbers that position the window.
        """
        padded = functional.pad(images, [self.padding] * 4)
        corner = (crop * (2 * self.padding + 1)).long()
        rows = corner[:, :1] + torch.arange(self.height, device=images.device)
        columns = corner[:, 1:] + torch.arange(self.width, device=images.device)
        horizontal, vertical = turning_ranges.flips(self.flip)
        columns = torch.where(flip[:, :1] < horizontal, padded.shape[3] - 1 - columns, columns)
        rows = torch.where(flip[:, 1:] < vertical, padded.shape[2] - 1 - rows, rows)
        source = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).flatten(1)
        pixels = padded.flatten(2).gather(2, source[:, None].expand(-1, 3, -1))
        return pixels.view(images.shape)

    def _recolour(self, images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Change exposure, white balance and gamma of each image, like another camera.

        Args:
            images: (B, 3, H, W) in [0, 255].
            numbers: (B, 5) random numbers for three channel gains, the common gain and the gamma.

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
        """Fill a random rectangle of randomly selected images, in place.

        Args:
            images: (B, 3, H, W) float32, normalised.
            number: (B, 1) random numbers that select the images.
            corner: (B, 2) random numbers that position the rectangle.
            attempts: (B, 2 * erase_attempts) random numbers, pairs for area and aspect.
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
        # As published, the fill is the mean in normalised space, not zero.
        for channel, value in enumerate(IMAGENET_MEAN):
            images[:, channel].masked_fill_(inside, value)
        return images

    def _rectangles(self, attempts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return heights and widths of the attempts, (B, erase_attempts) integral float64."""
        part, ratio = attempts[:, 0::2], attempts[:, 1::2]
        (area_low, area_high), (aspect_low, aspect_high) = self.erase_area, self.erase_aspect
        area = (area_low + (area_high - area_low) * part) * (self.height * self.width)
        aspect = aspect_low + (aspect_high - aspect_low) * ratio
        return (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
