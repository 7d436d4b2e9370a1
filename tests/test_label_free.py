"""What stands in for evaluation where no identity is known, and the epoch that is kept."""

import io

import numpy as np
import pytest
from rich.console import Console

from dccc_lightning.metrics.cluster_summary import summarize
from dccc_lightning.metrics.compactness import silhouette
from dccc_lightning.metrics.overall_silhouette import overall_silhouette
from dccc_lightning.reports.label_free import (
    RULE,
    label_free_table,
    summarize_label_free,
)


def row(epoch, **figures):
    return {"epoch": epoch, "step": 0} | {f"cluster/{k}": v for k, v in figures.items()}


RUN = [
    row(-1),
    row(0, num_clusters=9, outlier_ratio=0.1, silhouette=0.30),
    row(1, num_clusters=8, outlier_ratio=0.2, silhouette=0.50, churn=0.25),
    row(2, num_clusters=5, outlier_ratio=0.5, silhouette=0.70, churn=0.5),
    row(3, num_clusters=1, outlier_ratio=0.0, churn=0.125),
]


def test_it_is_the_mean_over_all_images_with_0_for_outliers():
    rng = np.random.default_rng(0)
    features = np.repeat(np.eye(6), 5, axis=0) + rng.normal(0, 0.2, (30, 6))
    labels = np.repeat([0, 1, 2, 3, -1, -1], 5)
    figures = {f"cluster/{k}": v for k, v in summarize(labels, features=features).items()}

    def own(i):
        """Rousseeuw's silhouette of one image, by the definition."""
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        distances = 1 - unit @ unit[i]
        others = np.arange(30) != i
        a = distances[others & (labels == labels[i])].mean()
        b = min(distances[labels == c].mean() for c in set(labels) - {-1, labels[i]})
        return (b - a) / max(a, b)

    expected = np.mean([own(i) if labels[i] >= 0 else 0.0 for i in range(30)])
    assert overall_silhouette(figures) == pytest.approx(expected, rel=1e-5)
    assert overall_silhouette(figures) < silhouette(labels, features)


@pytest.mark.parametrize("figures", [{}, {"silhouette": float("nan")}])
def test_without_two_clusters_it_is_the_least(figures):
    assert overall_silhouette(row(0, outlier_ratio=0.3, **figures)) == -1.0


def test_the_results_say_which_epoch_was_kept_and_by_which_rule():
    results = summarize_label_free(RUN, has_teacher=True)
    assert results["best"] == {
        "network": "teacher", "epoch": 1, "selected_by": RULE, "overall_silhouette": 0.4,
    }  # fmt: skip
    assert summarize_label_free(RUN, has_teacher=False)["best"]["network"] == "student"
    assert results["figures"] == {
        "first": {"epoch": 0, "num_clusters": 9, "outlier_ratio": 0.1, "silhouette": 0.30},
        "best": {"epoch": 1, "num_clusters": 8, "outlier_ratio": 0.2, "silhouette": 0.50,
                 "churn": 0.25},
        "last": {"epoch": 3, "num_clusters": 1, "outlier_ratio": 0.0, "churn": 0.125},
    }  # fmt: skip


def test_of_equals_the_earlier_is_kept_as_a_checkpoint_callback_would():
    rows = [row(e, outlier_ratio=0.0, silhouette=0.5) for e in range(3)]
    assert summarize_label_free(rows, has_teacher=True)["best"]["epoch"] == 0


def test_a_run_that_never_trained_has_no_best_epoch():
    assert summarize_label_free(RUN[:1], has_teacher=True) == {"best": None, "figures": {}}


def test_the_table_names_epochs_from_one():
    console = Console(file=io.StringIO(), width=100)
    console.print(label_free_table(summarize_label_free(RUN, has_teacher=True)))
    text = console.file.getvalue()
    for part in ("first: 1", "best: 2", "last: 4", "20.0%", "0.500", "12.5%", "no identities"):
        assert part in text
