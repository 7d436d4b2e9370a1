"""Warnings of pseudo labels that a training cannot learn from, from their label-free scores."""

from collections.abc import Mapping

from dccc_lightning.clustering.dcps import Schedule

LARGEST_SHARE = 0.15
"""Share of the images in one cluster above which it probably joins many identities."""

UNEQUAL = 2.0
"""Size of the largest cluster in mean sizes, below which a large share means few clusters only."""

LEAST_SILHOUETTE = 0.05
"""Overall silhouette below which clusters are hardly denser than their surroundings."""

LEAST_DESCENT = 0.25
"""Least share of the range of eps that a run of a falling schedule should use."""

FEWEST_EPOCHS = 5
"""Shorter runs are trials."""


def label_alarms(scores: Mapping[str, float], images: int) -> list[str]:
    """Return a sentence, with a remedy, for every bad sign in the scores of a clustering.

    Args:
        scores: Columns of metrics.csv: ``cluster/largest``, ``cluster/mean_size``,
            ``cluster/overall_silhouette``, ``cluster/eps``.
        images: Number of images.

    >>> scores = {"cluster/largest": 54.0, "cluster/mean_size": 20.0, "cluster/eps": 0.7,
    ...           "cluster/overall_silhouette": 0.3}
    >>> label_alarms(scores, 60)
    ['54 of 60 images are in one cluster at eps 0.7: lower scheduler.start']
    """
    found, largest = [], scores["cluster/largest"]
    eps = f"{scores['cluster/eps']:.3g}"
    if largest > LARGEST_SHARE * images and largest > UNEQUAL * scores["cluster/mean_size"]:
        found.append(
            f"{largest:.0f} of {images} images are in one cluster at eps {eps}: "
            "lower scheduler.start"
        )
    if scores["cluster/overall_silhouette"] < LEAST_SILHOUETTE:
        found.append(
            f"the clusters at eps {eps} are hardly denser than their surroundings (overall "
            f"silhouette {scores['cluster/overall_silhouette']:.2f}): try another scheduler.start, "
            "clustering.k1 or model.weights"
        )
    return found


def schedule_alarms(schedule: Schedule, epochs: int) -> list[str]:
    """Return a sentence if a falling schedule hardly leaves its start within ``epochs``.

    >>> from dccc_lightning.clustering.dcps import ExponentialSchedule
    >>> schedule_alarms(ExponentialSchedule(0.7), epochs=70)
    []
    """
    low, high = schedule.bounds
    first, last = schedule(0), schedule(epochs - 1)
    descent, whole = first - last, high - low
    if epochs < FEWEST_EPOCHS or descent <= 0 or descent >= LEAST_DESCENT * whole:
        return []
    return [
        f"in {epochs} epochs eps falls from {first:.3g} to {last:.3g} only, of a schedule that "
        f"ends at {low:.3g}: change scheduler.rate, or choose a lower scheduler.start"
    ]
