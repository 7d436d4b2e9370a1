"""Trained network with its preprocessing, from images to embeddings."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dccc_lightning.common import checks, turning_ranges
from dccc_lightning.common.console import progress_shown
from dccc_lightning.common.progress import announced
from dccc_lightning.data.augmentation import IMAGENET_MEAN, IMAGENET_STD, normalize
from dccc_lightning.data.image_stream import Decoded, Source, decoded_batches
from dccc_lightning.errors import UnreadableImageError
from dccc_lightning.models.layout import NORMALIZATIONS
from dccc_lightning.models.network import Embedder
from dccc_lightning.models.turned_images import embed_turns
from dccc_lightning.neighbors.turned_rows import to_rows

_FROM_ARRAY = "PIL.Image.fromarray converts a (height, width, 3) uint8 RGB array to an image"


@dataclass(frozen=True)
class Origin:
    """Description of a network in a checkpoint.

    Attributes:
        path: Path of the checkpoint, or ``bundled``.
        network: ``student`` or ``teacher``; a file of weights contains a student.
        model: Arguments of ``build_embedder`` without the weights.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        dataset: Name of the training dataset.
        version: Version of the package that wrote it; ``unknown`` in old checkpoints.
        fit: Argument of ``resize_image``.
        rotations: Turns with which it embedded images in training.
        match: Their comparison.
    """

    path: str
    network: str
    model: Mapping[str, Any]
    height: int
    width: int
    dataset: str
    version: str = "unknown"
    fit: str = "stretch"
    rotations: int = 1
    match: str = "mean"

    @property
    def name(self) -> str:
        """Network and file in words, such as ``teacher of runs/1/checkpoints/best.ckpt``."""
        return name_of(self.path, self.network)


def name_of(path: str, network: str) -> str:
    """Return ``Origin.name`` of a path and a network; empty without a path.

    >>> name_of("bundled", "student"), name_of("run/last.ckpt", "teacher")
    ('bundled', 'teacher of run/last.ckpt')
    """
    return path if path in ("bundled", "") else f"{network} of {path}"


class ImageEmbedder:
    """Trained network with its preprocessing, in eval mode.

    Args:
        network: Network to use; it is moved to ``device``, set to eval mode, and its gradients are
            disabled.
        origin: Description of the network, with the size of its images.
        device: Device of the network.
        rotations: 4 to embed an image as its quarter turns, for subjects without an upright
            position, such as animals from above; 1 for upright ones; None as in training.
        match: ``mean`` to compare images by the mean of their turns, or ``aligned``, at the best
            common turn; None as in training.

    Attributes:
        network: Network that maps normalised images (B, 3, H, W) to unit embeddings (B, D).
        origin: Description of the network.
        device: Device of the network.
        feature_dim: D.
        height: Height in pixels to which images are resized.
        width: Width in pixels to which images are resized.
        interpolation: Filter with which they are resized.
        rotations: Turns of an image, 1 or 4.
        match: Comparison of the turns.
        fit: Argument of ``resize_image``.
        row_dim: Length of an image's row in files and galleries: D, or 4 D if aligned.
    """

    def __init__(
        self,
        network: Embedder,
        origin: Origin,
        device: torch.device,
        rotations: int | None = None,
        match: str | None = None,
    ) -> None:
        trained = origin.rotations, origin.match
        self.rotations, self.match = turning_ranges.embedding(rotations, match, trained)
        self.fit = turning_ranges.fit(origin.fit)
        self.network = network.to(device).eval().requires_grad_(False)
        self.origin = origin
        self.device = device
        self.feature_dim = network.feature_dim
        self.height = checks.integer("height", origin.height, 1)
        self.width = checks.integer("width", origin.width, 1)
        self.interpolation = network.layout.interpolation
        self.row_dim = self.feature_dim * (self.rotations if self.match == "aligned" else 1)

    def __repr__(self) -> str:
        return (
            f"ImageEmbedder({self.origin.network} of {self.origin.path}, "
            f"{self.height} x {self.width} -> {self.feature_dim}, fingerprint={self.fingerprint})"
        )

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that identify the network; embeddings of others are incompatible.

        SHA-256 of the named tensors that determine embeddings and of the preprocessing. ``ALIGNED``
        follows if an image is a row of four turns.
        """
        digest = hashlib.sha256()
        digest.update(repr((self.height, self.width, IMAGENET_MEAN, IMAGENET_STD)).encode())
        if options := self.network.layout.options():
            digest.update(repr(sorted(options.items())).encode())
        if self.rotations > 1:
            digest.update(f"rotations={self.rotations}".encode())
        if self.fit != "stretch":
            digest.update(f"fit={self.fit}".encode())
        for name, value in sorted(self.network.state_dict().items()):
            if not name.endswith("num_batches_tracked"):  # does not affect embeddings
                digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16] + (turning_ranges.ALIGNED if self.match == "aligned" else "")

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Size, filter, colour order, mean and std of the images, for people and other programs."""
        layout = self.network.layout
        mean, std = NORMALIZATIONS[layout.normalization]
        return {
            "height": self.height,
            "width": self.width,
            "interpolation": layout.interpolation,
            "colour": layout.colour,
            "mean": list(mean),
            "std": list(std),
            "fit": self.fit,
            "rotations": self.rotations,
            "match": self.match,
        }

    def decode(
        self, images: Iterable[Source], batch_size: int, threads: int | None = None
    ) -> Iterator[list[Decoded]]:
        """Yield images at the network's size, resized with its filter, as ``decoded_batches``.

        With ``rotations`` each is four, (4, 3, H, W).
        """
        return self._decode(images, batch_size, threads, self.rotations > 1)

    def _decode(
        self, images: Iterable[Source], batch_size: int, threads: int | None, turned: bool
    ) -> Iterator[list[Decoded]]:
        size = self.height, self.width
        return decoded_batches(
            images, *size, batch_size, threads, self.interpolation, turned, self.fit
        )

    def embed(
        self,
        images: Source | Iterable[Source] | Tensor,
        batch_size: int = 128,
        progress: bool = False,
        aligned: bool | None = None,
    ) -> Tensor:
        """Embed images.

        Args:
            images: File or Pillow image of any size and mode, or a list of these; or an RGB tensor
                (B, 3, height, width) uint8, or (B, 4, 3, height, width) with quarter turns.
            batch_size: Number of images per step.
            progress: Show a progress bar.
            aligned: Return the embeddings of the four quarter turns, counterclockwise, as ``knn``
                and ``aligned_similarity`` compare them; None by ``match``.

        Returns:
            (N, D) float32 unit vectors on the CPU; with ``aligned`` (N, 4, D).

        Raises:
            UnreadableImageError: A file cannot be decoded, or is larger than ``MAX_PIXELS``.
            TypeError: An element is not an image; the message names its position.
            ValueError: An image has no pixels (such as a crop of an empty box), a tensor has
                another shape, or the batch size is below 1.
        """
        checks.integer("batch_size", batch_size, 1)
        if aligned is None:
            aligned = self.match == "aligned"
        turned = checks.boolean("aligned", aligned) or self.rotations > 1
        if isinstance(images, Tensor):
            return self._embed_tensor(images, batch_size, turned, aligned)
        if isinstance(images, (str, os.PathLike, Image.Image)):
            images = [images]
        if isinstance(images, np.ndarray):  # an empty array would be taken for an empty list
            raise TypeError(f"images must be files or PIL images, got an array; {_FROM_ARRAY}")
        images = list(images)
        for position, image in enumerate(images):
            _check_source(position, image)
        embeddings = torch.empty((len(images), *self._shape(aligned)))
        batches = self._decode(images, batch_size, None, turned)
        start = 0
        with progress_shown(progress), announced("embedding", len(images)) as phase:
            for batch in batches:
                pixels = torch.from_numpy(np.stack([_require(image) for image in batch]))
                embeddings[start : start + len(batch)] = self._forward(pixels, aligned)
                start += len(batch)
                phase.advance(len(batch))
        return embeddings

    def _shape(self, aligned: bool) -> tuple[int, ...]:
        return (4, self.feature_dim) if aligned else (self.feature_dim,)

    def _embed_tensor(self, images: Tensor, batch_size: int, turned: bool, aligned: bool) -> Tensor:
        shape: tuple[int, ...] = (3, self.height, self.width)
        if turned and images.shape[1:] == shape and self.height == self.width:
            images = torch.stack([images.rot90(turn, (2, 3)) for turn in range(4)], dim=1)
        shape = (4, *shape) if turned else shape
        if images.dtype != torch.uint8 or images.shape[1:] != shape:
            raise ValueError(
                f"images must be ({', '.join(map(str, ('B', *shape)))}) uint8, got "
                f"{tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}"
            )
        starts = range(0, len(images), batch_size)
        parts = [self._forward(images[start : start + batch_size], aligned) for start in starts]
        return torch.cat([torch.empty((0, *self._shape(aligned))), *parts])

    def _forward(self, pixels: Tensor, aligned: bool) -> Tensor:
        """Embed (B, 3, H, W), or (B, 4, 3, H, W) as the mean or, if ``aligned``, one by one."""
        with torch.inference_mode():
            return embed_turns(self._network, pixels, aligned)

    def rows(self, images: Source | Iterable[Source] | Tensor, batch_size: int = 128) -> Tensor:
        """Embed images as ``embed``, as rows of length 1 for files and galleries.

        Returns:
            (N, row_dim); an aligned row holds the four turns one after the other, see
            ``neighbors.turned_rows``.
        """
        return to_rows(self.embed(images, batch_size))

    def _network(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network(normalize(pixels.to(self.device, non_blocking=True)))
        return features.cpu()


def _check_source(position: int, image: object) -> None:
    """Raise an error for an element that is not an image or has no pixels."""
    if not isinstance(image, (str, os.PathLike, Image.Image)):
        remedy = f"; {_FROM_ARRAY}" if isinstance(image, (np.ndarray, Tensor)) else ""
        raise TypeError(
            f"images[{position}] must be a file or a PIL image, got {type(image).__name__}{remedy}"
        )
    if isinstance(image, Image.Image) and 0 in image.size:
        raise ValueError(
            f"images[{position}] has no pixels, it is {image.height} x {image.width}; "
            "skip boxes without height or width"
        )


def _require(image: Decoded) -> NDArray[np.uint8]:
    if isinstance(image, UnreadableImageError):
        raise image
    return image
