"""Results of a run without identities, and the rule that selects its best epoch.

The rule: the epoch with the highest ``overall_silhouette``, and of its networks the teacher, where
there is one. How near to the best epoch it led in ten runs is in docs/own_images.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from dccc_lightning.metrics.overall_silhouette import overall_silhouette
from dccc_lightning.reports.metrics_table import Row

RULE = "highest silhouette over all training images, outliers counted as 0"

FIGURES = {
    "num_clusters": ("clusters", "{:.0f}"),
    "outlier_ratio": ("outliers", "{:.1%}"),
    "silhouette": ("silhouette", "{:.3f}"),
    "churn": ("churn", "{:.1%}"),
}
"""Name and format of each figure that replaces scores; keys are without ``cluster/``."""


def summarize_label_free(rows: Sequence[Row], has_teacher: bool) -> dict[str, Any]:
    """Derive the results of a run without identities.

    Args:
        rows: Of metrics.csv, in the order of epochs.
        has_teacher: Whether the loss has a teacher, which then is the network to use.

    Returns:
        ``best`` (epoch, network, overall silhouette, the rule), and ``figures`` of the first, the
        best and the last epoch, each with those of ``FIGURES`` that there are. Of equals the
        earlier epoch is the best. ``best`` is None where no epoch was trained.
    """
    trained = [row for row in rows if row["epoch"] >= 0]
    if not trained:
        return {"best": None, "figures": {}}
    best = max(trained, key=overall_silhouette)
    return {
        "best": {
            "network": "teacher" if has_teacher else "student",
            "epoch": int(best["epoch"]),
            "selected_by": RULE,
            "overall_silhouette": round(overall_silhouette(best), 6),
        },
        "figures": {
            name: {"epoch": int(row["epoch"])}
            | {key: row[f"cluster/{key}"] for key in FIGURES if f"cluster/{key}" in row}
            for name, row in (("first", trained[0]), ("best", best), ("last", trained[-1]))
        },
    }


def label_free_table(results: Mapping[str, Any]) -> Table:
    """Return the results of ``summarize_label_free`` as a table for the terminal."""
    table = Table(title="no identities, so no scores; the clusters", title_justify="left")
    table.add_column("epoch")
    for title, _ in FIGURES.values():
        table.add_column(title, justify="right")
    for name, figures in results["figures"].items():
        cells = [
            form.format(figures[key]) if key in figures else ""
            for key, (_, form) in FIGURES.items()
        ]
        table.add_row(f"{name}: {figures['epoch'] + 1}", *cells)
    return table
