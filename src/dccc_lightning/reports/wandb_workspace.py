"""Specifications of the project's workspace in Weights & Biases and of a report of its sweeps."""

from collections.abc import Sequence
from typing import Any

from dccc_lightning.errors import UserError
from dccc_lightning.reports.objective import OBJECTIVES
from dccc_lightning.reports.results import SCORE_NAMES
from dccc_lightning.reports.wandb_media import image_key, table_key

STEP, EPOCH = "trainer/global_step", "epoch"

PROTOCOL = "protocol"
"""Setting of a run in W&B by which views are filtered."""

Line = tuple[str, str, tuple[str, ...]]
"""Title, horizontal axis, figures."""

_RETRIEVAL: tuple[Line, ...] = tuple(
    (SCORE_NAMES[score], EPOCH, (f"val/{score}", f"val_teacher/{score}"))
    for score in ("mAP", "rank1", "mINP")
)
_TRAINING: tuple[Line, ...] = (
    ("loss", EPOCH, ("train/loss",)),
    ("loss by step", STEP, ("train/loss_step",)),
    ("learning rate", EPOCH, ("train/lr",)),
)
_CLUSTERING: tuple[Line, ...] = (
    ("eps (DCPS)", EPOCH, ("cluster/eps", "cluster/scheduled_eps")),
    ("clusters", EPOCH, ("cluster/num_clusters",)),
    ("outliers", EPOCH, ("cluster/outlier_ratio",)),
    ("labels against identities", EPOCH, ("cluster/ari", "cluster/nmi")),
    ("silhouette", EPOCH, ("cluster/silhouette", "cluster/overall_silhouette")),
    ("churn", EPOCH, ("cluster/churn",)),
)
_SYSTEM: tuple[Line, ...] = (
    ("seconds of an epoch", EPOCH, ("system/total_seconds",)),
    (
        "seconds of its parts",
        EPOCH,
        tuple(
            f"system/{part}_seconds"
            for part in ("embedding", "clustering", "training", "evaluation", "other")
        ),
    ),
)
_BOARDS = ("clusters/largest", "clusters/tightest", "clusters/loosest", "clusters/mixed",
           "clusters/outliers")  # fmt: skip

TALL = ("Clusters", "Map, distances, sizes, flow", "Rankings")
"""Sections of pictures, which get half the width each."""

SWEPT = ("scheduler._target_", "scheduler.start", "memory.update", "recipe.tau_w", "loss._target_",
         "recipe.smoothing", "clustering.k1", "seed")  # fmt: skip
"""Settings of the parallel coordinates; every run has them, and W&B draws no run that lacks one."""

PARTS = {"schedule": "scheduler._target_", "memory": "memory.update", "loss": "loss._target_"}
"""Settings that ablations vary, by name."""


def require_workspaces() -> tuple[Any, Any]:
    """Return ``wandb_workspaces.workspaces`` and its ``reports.v2``.

    Raises:
        UserError: They are not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as reports  # noqa: PLC0415  an extra
        from wandb_workspaces import workspaces  # noqa: PLC0415  an extra
    except ImportError as error:
        raise UserError("task=dashboard: pip install 'dccc-lightning[dashboard]'") from error
    return workspaces, reports


def workspace(entity: str, project: str, protocol: str) -> Any:
    """Return the project's workspace, a ``wandb_workspaces.workspaces.Workspace``.

    It shows the runs of one evaluation protocol, since scores of two are not comparable.
    Sections: retrieval, training, clustering, clusters, map and distances, rankings, system and
    settings; ``logger=wandb`` logs all that they show.
    """
    ws, wr = require_workspaces()

    def media(*names: str) -> list[Any]:
        return [
            wr.MediaBrowser(title=name, media_keys=[image_key(name)], num_columns=1)
            for name in names
        ]

    def tables(*names: str) -> list[Any]:
        return [wr.WeavePanelSummaryTable(table_name=table_key(name)) for name in names]

    sections = {
        "Retrieval": _lines(wr, _RETRIEVAL),
        "Training": _lines(wr, _TRAINING),
        "Clustering": _lines(wr, _CLUSTERING),
        "Clusters": media(*_BOARDS) + tables("clusters"),
        "Map, distances, sizes, flow": media("map", "distances", "sizes", "flow")
        + tables("map", "distances", "sizes", "flow"),
        "Rankings": media("rankings") + tables("rankings"),
        "System": _lines(wr, _SYSTEM),
        "Settings": [wr.RunComparer(diff_only="split")],
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"DCCC, {protocol}",
        sections=[
            ws.Section(
                name=name,
                panels=panels,
                is_open=name != "Settings",
                layout_settings=ws.SectionLayoutSettings(
                    **{"columns": 2, "rows": 2} if name in TALL else {}
                ),
            )
            for name, panels in sections.items()
        ],
        settings=ws.WorkspaceSettings(x_axis=EPOCH),
        runset_settings=ws.RunsetSettings(filters=f"Config({PROTOCOL!r}) = {protocol!r}"),
    )


def sweep_report(entity: str, project: str, protocol: str, group: str | None = None) -> Any:
    """Return a report of sweeps, a ``wandb_workspaces.reports.v2.Report``.

    Args:
        entity: A user or a team.
        project: Of the runs.
        protocol: Evaluation protocol of the runs.
        group: Of the sweep, the name of its folder; None: all that are tagged ``sweep``.
    """
    _, wr = require_workspaces()
    chosen = f"Group = {group!r}" if group else "Tags in ['sweep']"
    chosen = f"{chosen} and Config({PROTOCOL!r}) = {protocol!r}"

    def grid(panels: list[Any]) -> Any:
        for place, panel in enumerate(panels):
            row, column = divmod(place, 2)
            panel.layout = wr.Layout(x=12 * column, y=8 * row, w=12, h=8)
        runs = wr.Runset(  # of the report's project: naming it would ask the server for it
            name=group or "sweeps",
            filters=chosen,
            order=[wr.OrderBy(wr.SummaryMetric(OBJECTIVES["mAP"]))],
        )
        return wr.PanelGrid(runsets=[runs], panels=panels)

    def coordinates(objective: str) -> Any:
        columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(name)) for name in SWEPT]
        columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(objective)))
        return wr.ParallelCoordinatesPlot(title=objective, columns=columns)

    scatters = [
        wr.ScatterPlot(title=f"{objective} by {name}", x=wr.Config(name),
                       y=wr.SummaryMetric(objective))
        for objective in OBJECTIVES.values()
        for name in ("scheduler.start", "scheduler.floor")
    ]  # fmt: skip
    bars = [
        wr.BarPlot(
            title=f"{objective} by {name}, mean over runs",
            metrics=[objective],
            groupby=wr.Config(setting),
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
        )
        for objective in OBJECTIVES.values()
        for name, setting in PARTS.items()
    ]
    curves = (("mAP", EPOCH, ("val_best/mAP",)), *_CLUSTERING)
    blocks = [
        wr.H1("Which settings win"),
        wr.P("{} needs labels, {} does not.".format(*OBJECTIVES.values())),
        grid([coordinates(objective) for objective in OBJECTIVES.values()]
             + [wr.ParameterImportancePlot(with_respect_to=name) for name in OBJECTIVES.values()]),
        wr.H1("The range of eps"),
        grid(scatters),
        wr.H1("The parts"),
        grid(bars),
        wr.H1("Curves"),
        grid(_lines(wr, curves)),
        wr.H1("What differs"),
        grid([wr.RunComparer(diff_only="split")]),
    ]  # fmt: skip
    return wr.Report(
        entity=entity,
        project=project,
        title=f"Sweep {group}, {protocol}" if group else f"Sweeps, {protocol}",
        description="Made by task=dashboard.",
        blocks=blocks,
        width="fluid",
    )


def specification(view: Any) -> dict[str, Any]:
    """Return the request body of a workspace or a report, as JSON types."""
    content: dict[str, Any] = view._to_model().model_dump(mode="json", by_alias=True)
    return content


def _lines(wr: Any, lines: Sequence[Line]) -> list[Any]:
    return [wr.LinePlot(title=title, x=axis, y=list(names)) for title, axis, names in lines]
