"""Ranges of scores and distances, and of the arguments of ``Identifier``, without torch."""

from dccc_lightning.common import checks
from dccc_lightning.common.ranges import BACKENDS, CAMERA_MODES

ABOVE_ALL = 1.01
"""Highest minimum score; a cosine of 1 in single precision may be a little more."""

LARGEST_MEAN = 0.95
"""Largest mean Jaccard distance of two groups of images of one identity."""

ONE_COSINE = (
    "a threshold of cosines needs one embedding an image: embed and calibrate with "
    "embedding.match=mean, or choose threshold=auto"
)
"""Reason why images that are compared aligned are not identified by a calibrated threshold."""


def identifier(
    threshold: float, distance: str, k1: int, k2: int, camera: str, backend: str = "auto"
) -> None:
    """Check ``Identifier``."""
    checks.choice("distance", distance, ("jaccard", "cosine"))
    checks.choice("camera", camera, CAMERA_MODES[:3])
    checks.choice("backend", backend, BACKENDS)
    checks.integer("k1", k1, 1)
    checks.integer("k2", k2, 1, k1)
    if distance == "jaccard":
        checks.real("threshold", threshold, 0, LARGEST_MEAN, open_low=True)
        return
    checks.real("threshold", threshold, -1, ABOVE_ALL)
    if camera != "none":
        raise ValueError(
            f"camera must be none with a calibrated threshold, which is for embeddings as they "
            f"are, got {camera!r}"
        )
