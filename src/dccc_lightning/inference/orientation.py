"""Measure on embeddings of quarter turns whether the subjects of images turn."""

from dataclasses import dataclass

import torch
from torch import Tensor

OFTEN = 0.4
"""Share of nearest images at another turn from which the images count as turning."""


@dataclass(frozen=True)
class Orientation:
    """Cosines of images to their own quarter turns and to other images.

    Attributes:
        images: Number of images.
        own: Mean cosine of an image to its turns by 90 and 270 degrees.
        nearest: Mean cosine of an image to the nearest other image, as they lie.
        turned: Share of the images whose nearest other image, at any quarter turn, is nearest at
            another turn than as it lies. Of upright subjects near 0; of subjects in any
            orientation up to 3/4.
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
        cosines = torch.einsum("nd,mrd->nrm", upright, turns)
        cosines.diagonal(dim1=0, dim2=2).fill_(-torch.inf)
        best = cosines.amax(dim=2)
        is_turned = best[:, 1:].amax(dim=1) > best[:, 0]
        return cls(
            len(turns), float(own), float(best[:, 0].mean()), float(is_turned.double().mean())
        )

    @property
    def sentence(self) -> str:
        """The measurement and what follows from it, in one sentence."""
        said = (
            f"orientation: the cosine of an image to its own quarter turn is {self.own:.2f}, to "
            f"the nearest other image {self.nearest:.2f}; of {self.images:,} images "
            f"{100 * self.turned:.0f} % are nearer to another one after a turn: "
        )
        if self.turned >= OFTEN:
            return f"{said}the images turn, try subject=overhead"
        return f"{said}the images have an upright position, keep subject=upright"
