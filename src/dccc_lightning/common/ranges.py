"""Range checks of constructor arguments, without importing torch.

Each function checks the arguments of one class under their names. The constructor calls it, and so
does the command line (``preflight``) before the class is imported, so that errors appear early.
"""

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from dccc_lightning.common import checks, turning_ranges
from dccc_lightning.errors import UserError

RULES = ("dycl", "mean", "hard", "instance")
"""Rules of ``ClusterMemory``."""

ALGORITHMS = ("adam", "adamw", "sgd")
"""Optimisers of ``Optimization``."""

RATE_SCHEDULES = ("constant", "step", "cosine")
"""Learning rates of ``Optimization`` after the warm-up."""

BACKENDS = ("auto", "faiss", "torch", "approximate")
"""Neighbour searches of ``knn``."""

CAMERA_MODES = ("none", "center", "whiten", "penalty", "proxies", "ca_jaccard")
"""Treatments of cameras by ``PseudoLabeler``."""

OUTLIERS = ("drop", "single", "attach")
"""Treatments of outliers by ``PseudoLabeler``."""

FEATURES = ("student", "teacher", "average")
"""Embeddings that ``PseudoLabeler`` clusters; ``average`` is their normalised mean."""

CRITERIA = ("knee", "valley", "stability", "largest_share")
"""Criteria of ``AdaptiveSchedule``."""

CACHES = ("auto", "ram", "none")
ON_ERROR = ("fail", "skip")

ARTIFACTS = ("none", "best", "all")
"""Checkpoints that ``RunWandbLogger`` logs."""


def memory(
    momentum: float = 0.1, temperature: float = 0.05, update: str = "dycl", tau_w: float = 0.09
) -> None:
    """Check ``ClusterMemory``."""
    checks.real("momentum", momentum, 0, 1)
    checks.real("temperature", temperature, 0, open_low=True)
    checks.choice("update", update, RULES)
    checks.real("tau_w", tau_w, 0, open_low=True)


def soft_contrastive(smoothing: float, weight: float = 1.0) -> None:
    """Check ``SoftContrastiveLoss``."""
    checks.real("smoothing", smoothing, 0, 1)
    checks.real("weight", weight, 0, 1)


def no_arguments() -> None:
    """Check a class without arguments."""


def optimization(
    algorithm: str = "adam",
    lr: float = 3.5e-4,
    weight_decay: float = 5e-4,
    warmup_epochs: int = 10,
    warmup_start: float = 0.1,
    momentum: float = 0.9,
    nesterov: bool = True,
    schedule: str = "constant",
    step_epochs: int = 20,
    step_factor: float = 0.1,
    epochs: int | None = None,
) -> None:
    """Check ``Optimization``."""
    checks.choice("algorithm", algorithm, ALGORITHMS)
    checks.real("lr", lr, 0.0, 10.0, open_low=True)
    checks.real("weight_decay", weight_decay, 0.0, 1.0)
    checks.integer("warmup_epochs", warmup_epochs, 0)
    checks.real("warmup_start", warmup_start, 0.0, 1.0, open_low=True)
    checks.real("momentum", momentum, 0.0, 1.0, open_high=True)
    checks.boolean("nesterov", nesterov)
    checks.choice("schedule", schedule, RATE_SCHEDULES)
    checks.integer("step_epochs", step_epochs, 1)
    checks.real("step_factor", step_factor, 0.0, 1.0, open_low=True)
    if schedule == "cosine":
        if epochs is None:
            raise ValueError("schedule=cosine needs epochs")
        checks.integer("epochs", epochs, 1)


def labeler(
    k1: int = 30,
    k2: int = 6,
    algorithm: object = None,
    backend: str = "auto",
    margin: float = 0.05,
    step: float = 0.01,
    camera: str = "none",
    penalty: float = 0.1,
    k1_intra: int = 5,
    k1_inter: int = 20,
    k2_intra: int = 2,
    k2_inter: int = 4,
    outliers: str = "drop",
    attach_within: float = 1.3,
    refine: float = 0.0,
    refine_neighbors: int = 10,
    features: str = "student",
    constraints: object = None,
) -> None:
    """Check ``PseudoLabeler``; ``algorithm`` and ``constraints`` are checked separately."""
    checks.integer("k1", k1, low=1)
    checks.integer("k2", k2, low=1, high=k1)
    checks.choice("backend", backend, BACKENDS)
    checks.real("margin", margin, 0, 1, open_high=True)
    checks.real("step", step, 1e-4, 1)
    checks.choice("camera", camera, CAMERA_MODES)
    checks.real("penalty", penalty, 0)
    camera_neighbors(k1_intra, k1_inter, k2_intra, k2_inter)
    if camera == "ca_jaccard" and backend == "approximate":
        raise ValueError("camera=ca_jaccard compares all images: choose backend=auto")
    checks.choice("outliers", outliers, OUTLIERS)
    checks.real("attach_within", attach_within, 0)
    checks.real("refine", refine, 0, 1)
    checks.integer("refine_neighbors", refine_neighbors, low=1)
    checks.choice("features", features, FEATURES)


def camera_neighbors(
    k1_intra: int = 5, k1_inter: int = 20, k2_intra: int = 2, k2_inter: int = 4
) -> None:
    """Check the neighbourhoods of the camera-aware Jaccard distance."""
    checks.integer("k1_intra", k1_intra, low=0)
    checks.integer("k1_inter", k1_inter, low=0)
    checks.integer("k2_intra", k2_intra, low=0)
    checks.integer("k2_inter", k2_inter, low=int(k2_intra == 0))


BY_CAMERA = {"k1_intra": 1, "k1_inter": 2, "k2_intra": 0, "k2_inter": 1}
"""Number of images that are needed beyond each setting of ``camera_neighbors``."""


def images_of_neighborhoods(images: int, labeler: Mapping[str, Any]) -> None:
    """Check that the settings of ``PseudoLabeler`` need no more neighbours than there are images.

    Raises:
        ValueError: The message names the setting and the remedy.
    """
    least = BY_CAMERA if labeler.get("camera") == "ca_jaccard" else {"k1": 0}
    for name, more in least.items():
        if labeler.get(name, 0) + more > images:
            raise ValueError(
                f"{name} must be at most {images - more} with {images} images, got "
                f"{labeler[name]}: lower clustering.{name} or add images"
            )
    algorithm = labeler.get("algorithm")
    least_samples = algorithm.get("min_samples", 0) if isinstance(algorithm, Mapping) else 0
    if isinstance(least_samples, int) and least_samples > images:
        raise ValueError(
            f"algorithm.min_samples must be at most {images} with {images} images, got "
            f"{least_samples}: lower clustering.algorithm.min_samples or add images"
        )


def cluster_size(min_samples: int = 4) -> None:
    """Check ``DBSCAN`` and ``SingleLinkage``."""
    checks.integer("min_samples", min_samples, low=1)


def hdbscan(min_samples: int = 4, min_cluster_size: int = 4, closest: float = 0.2) -> None:
    """Check ``HDBSCAN``."""
    cluster_size(min_samples)
    checks.integer("min_cluster_size", min_cluster_size, low=2)
    checks.real("closest", closest, 0, 1, open_low=True, open_high=True)


def infomap(min_samples: int = 4, trials: int = 1, seed: int = 1) -> None:
    """Check ``Infomap``.

    Raises:
        UserError: The package is not installed.
    """
    cluster_size(min_samples)
    checks.integer("trials", trials, low=1)
    checks.integer("seed", seed, low=1)
    if find_spec("infomap") is None:
        raise UserError(
            "clustering=infomap needs the package infomap (GPL): pip install "
            '"dccc-lightning[infomap]"'
        )


def adaptive_schedule(
    start: float = 0.7,
    floor: float = 0.399,
    criterion: str = "knee",
    step: float = 0.01,
    neighbors: int = 10,
    reach: int = 3,
    share: float = 0.1,
) -> None:
    """Check ``AdaptiveSchedule``."""
    checks.real("start", start, 0, 1, open_low=True, open_high=True)
    checks.real("floor", floor, 0, 1, open_low=True, open_high=True)
    if floor > start:
        raise ValueError(f"floor must be at most start ({start}), got {floor}")
    checks.choice("criterion", criterion, CRITERIA)
    checks.real("step", step, 1e-3, 1)
    checks.integer("neighbors", neighbors, low=2)
    checks.integer("reach", reach, low=1, high=math.ceil(start / step))
    checks.real("share", share, 0, 1, open_low=True)


def augmentation(
    flip: float | str = 0.5,
    padding: int = 10,
    erase: float = 0.5,
    erase_area: Sequence[float] = (0.02, 0.4),
    erase_aspect: Sequence[float] = (0.3, 3.33),
    erase_attempts: int = 100,
    colour: float = 0.0,
    rotate: str | int = "none",
) -> None:
    """Check ``BatchAugmentation``."""
    turning_ranges.flips(flip)
    turning_ranges.rotate(rotate)
    checks.integer("padding", padding, low=0)
    checks.real("erase", erase, 0, 1)
    low, high = erase_area
    checks.real("erase_area[1]", high, checks.real("erase_area[0]", low, 0, 1), 1)
    low, high = erase_aspect
    checks.real("erase_aspect[1]", high, checks.real("erase_aspect[0]", low, 0, open_low=True))
    checks.integer("erase_attempts", erase_attempts, low=1)
    checks.real("colour", colour, 0, 1, open_high=True)


def datamodule(
    height: int,
    width: int,
    clusters: int,
    instances: int,
    iterations: int,
    seed: int = 0,
    eval_batch_size: int | None = None,
    workers: int | None = None,
    cache: str = "auto",
    on_error: str = "fail",
    rotations: int = 1,
    match: str = "mean",
    fit: str = "stretch",
) -> None:
    """Check ``ReIDDataModule``."""
    turning_ranges.embedding(rotations, match)
    turning_ranges.fit(fit)
    checks.integer("height", height, 8)
    checks.integer("width", width, 8)
    checks.integer("clusters", clusters, 2)
    checks.integer("instances", instances, 2)
    checks.integer("iterations", iterations, 1)
    checks.integer("seed", seed, 0, 2**32 - 1)
    if eval_batch_size is not None:
        checks.integer("eval_batch_size", eval_batch_size, 1)
    if workers is not None:
        checks.integer("workers", workers, 0)
    checks.choice("cache", cache, CACHES)
    checks.choice("on_error", on_error, ON_ERROR)


def teacher(start: int = 99, cap: float = 0.999) -> None:
    """Check ``MeanTeacher``."""
    checks.integer("start", start, 0)
    checks.real("cap", cap, 0, 1)


def reranking(k1: int = 20, k2: int = 6, weight: float = 0.3) -> None:
    """Check ``Rerank``."""
    checks.integer("k1", k1, low=1)
    checks.integer("k2", k2, low=1, high=k1)
    checks.real("weight", weight, 0, 1)


def camera_reranking(
    k1_intra: int = 5,
    k1_inter: int = 20,
    k2_intra: int = 3,
    k2_inter: int = 3,
    weight: float = 0.3,
) -> None:
    """Check ``CameraRerank``."""
    camera_neighbors(k1_intra, k1_inter, k2_intra, k2_inter)
    checks.real("weight", weight, 0, 1)
