"""Range checks of the arguments of callbacks and of evaluation, without importing torch."""

from dccc_lightning.common import checks

PROTOCOLS = (
    "market1501", "single_shot", "prcc_same_clothes", "prcc_clothes_changed", "vehicleid",
    "cuhk03_classic", "clothes_changed", "same_clothes", "cross_modality", "sysu_all_search",
    "sysu_indoor_search", "llcm", "leave_one_out", "other_session", "other_tracklet", "tracklets",
)  # fmt: skip
"""Evaluation protocols; ``metrics.protocols`` has their rules."""

POLICIES = ("stop", "skip")
"""Policies of ``LossGuard``."""


def supervised(label_smoothing: float = 0.1) -> None:
    """Check ``SupervisedModule``."""
    checks.real("label_smoothing", label_smoothing, 0, 1)


def evaluation(epochs: int, camera_center: bool = False, protocol: str = "auto") -> None:
    """Check ``EvaluationEvery``."""
    checks.integer("eval_every", epochs, 1)
    evaluated(camera_center, protocol)


def evaluated(
    camera_center: bool = False,
    protocol: str = "auto",
    most_per_identity: int | None = None,
    drop_duplicates: bool = False,
) -> None:
    """Check the settings of ``evaluate``."""
    if most_per_identity is not None:
        checks.integer("evaluate.most_per_identity", most_per_identity, 2)
    checks.boolean("evaluate.drop_duplicates", drop_duplicates)
    checks.boolean("evaluate.camera_center", camera_center)
    checks.choice("evaluate.protocol", protocol, ("auto", *PROTOCOLS))


def files_of_epochs(folder: object, every: int | None = None) -> None:
    """Check ``Panels`` and ``ClusterFiles``."""
    if every is not None:
        checks.integer("every", every, 1)


def map_files(folder: object, every: int, frames: int = 8, images: int | None = 20000) -> None:
    """Check ``MapFiles``."""
    checks.integer("every", every, 1)
    checks.integer("frames", frames, 1)
    if images is not None:
        checks.integer("images", images, 1)


def running_page(every: int) -> None:
    """Check ``RunningPage``."""
    checks.integer("every", every, 1)


def epoch_line(remaining: bool = False) -> None:
    """Check ``EpochLine``."""
    checks.boolean("remaining", remaining)


def query_files(folder: object, hits: int = 10) -> None:
    """Check ``QueryFiles``."""
    checks.integer("hits", hits, 1)


def loss_guard(folder: object, policy: str = "stop") -> None:
    """Check ``LossGuard``."""
    checks.choice("on_nonfinite_loss", policy, POLICIES)


def run_checkpoint(folder: object, every_n_steps: int | None = None, requeue: bool = False) -> None:
    """Check ``RunCheckpoint``."""
    if every_n_steps is not None:
        checks.integer("every_n_steps", every_n_steps, 1)
