"""Measure on embeddings of quarter turns whether the subjects of images turn."""

from dataclasses import dataclass

import torch
from torch import Tensor

OFTEN = 0.15
"""Share of near images at another turn from which the images count as turning.

Upright photographs have 0.00, drawn pedestrians 0.13, cows from above 0.19 to 0.30, see
docs/turning.md.
"""

NEAREST = 5
"""Others of an image that are looked at: the nearest alone may be the next frame of a film."""


@dataclass(frozen=True)
class Orientation:
    """Cosines of images to their own quarter turns and to other images.

    Attributes:
        images: Number of images.
        own: Mean cosine of an image to its turns by 90 and 270 degrees.
        nearest: Mean cosine of an image to the nearest other image, as they lie.
        turned: Share of the ``NEAREST`` others of each image, at the best common turn of both, that
            are nearer at another turn than as they lie. Of upright subjects near 0; of subjects in
            any orientation up to 3/4.
    """

    images: int
    own: float
    nearest: float
    turned: float

    @classmethod
    def of(cls, turns: Tensor) -> "Orientation":
        """Measure embeddings (N, 4, D) of length 1 of at least two images.

        >>> turns = torch.eye(4)[None].repeat(2, 1, 1)
        >>> turns[1] = turns[1].roll(1, 0)
        >>> Orientation.of(turns)
        Orientation(images=2, own=0.0, nearest=0.0, turned=1.0)
        """
        upright = turns[:, 0]
        own = (upright[:, None] * turns[:, [1, 3]]).sum(dim=2).mean()
        shifted = torch.stack([turns.roll(-turn, 1).flatten(1) for turn in range(4)])
        cosines = turns.flatten(1) @ shifted.mT / 4  # (common turn, N, N)
        cosines.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        best = cosines.amax(dim=0)
        near = best.topk(min(NEAREST, len(turns) - 1), dim=1).indices
        turned = (best > cosines[0]).gather(1, near).double().mean()
        plain = upright @ upright.T
        nearest = plain.fill_diagonal_(-torch.inf).amax(dim=1).mean()
        return cls(len(turns), float(own), float(nearest), float(turned))

    @property
    def sentence(self) -> str:
        """The measurement and what follows from it, in one sentence."""
        said = (
            f"orientation: the cosine of an image to its own quarter turn is {self.own:.2f}, to "
            f"the nearest other image {self.nearest:.2f}; of the {NEAREST} nearest others of "
            f"{self.images:,} images {100 * self.turned:.0f} % are nearer after a turn: "
        )
        if self.turned >= OFTEN:
            return f"{said}the images turn, try subject=overhead"
        return f"{said}the images have an upright position, keep subject=upright"
