"""Example image with its embedding, to test code that runs an exported network."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dccc_lightning.data.decoding import resize_image
from dccc_lightning.data.synthetic.camera import cameras
from dccc_lightning.data.synthetic.wardrobe import person
from dccc_lightning.inference.image_embedder import ImageEmbedder

EXAMPLE, EMBEDDING = "example.jpg", "example.npy"

_HEIGHT, _WIDTH = 192, 96


@dataclass(frozen=True, eq=False)
class ExportExample:
    """Drawn pedestrian with its embedding, so that no image of a real person is distributed.

    Attributes:
        picture: Bytes of a JPEG file.
        embedding: (row_dim,) embedding by the module.
        bgr_cost: 1 - cosine to the embedding of the image with red and blue swapped.
    """

    picture: bytes
    embedding: NDArray[np.float32]
    bgr_cost: float

    @classmethod
    def of(cls, embedder: ImageEmbedder) -> "ExportExample":
        """Draw the image and embed it."""
        camera = cameras(0, 1, 0.0, _HEIGHT, _WIDTH)[0]
        track, shot = np.random.default_rng(1), np.random.default_rng(2)
        picture = io.BytesIO()
        drawn = camera.photograph(person(0, 3), _HEIGHT, _WIDTH, track, shot)
        drawn.save(picture, "JPEG", quality=90)
        size, fit = (embedder.height, embedder.width), embedder.fit
        rgb = resize_image(Image.open(picture), *size, embedder.interpolation, fit=fit)
        pixels = np.stack([rgb, rgb[::-1]])
        right, swapped = embedder.rows(torch.from_numpy(pixels)).numpy()
        return cls(picture.getvalue(), right, round(max(0.0, float(1 - right @ swapped)), 4))

    @property
    def embedding_file(self) -> bytes:
        """Return the embedding in the format of ``numpy.save``."""
        content = io.BytesIO()
        np.save(content, self.embedding)
        return content.getvalue()
