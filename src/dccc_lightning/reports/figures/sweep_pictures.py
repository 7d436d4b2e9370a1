"""Pictures of a sweep: charts of its page, each also as a PNG."""

from collections.abc import Sequence
from dataclasses import dataclass

from dccc_lightning.reports.figures.chart import Chart, to_png
from dccc_lightning.reports.figures.heat_maps import heat_maps
from dccc_lightning.reports.figures.parallel_coordinates import parallel_coordinates
from dccc_lightning.reports.figures.sweep_curves import sweep_curves
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.reports.sweep_table import SweepTable


@dataclass(frozen=True)
class Picture:
    """Charts under one heading, and the PNG of them."""

    heading: str
    charts: Sequence[Chart]
    png: bytes


def sweep_pictures(table: SweepTable) -> dict[str, Picture]:
    """Return the pictures of a sweep by the name of the PNG: heat maps, coordinates, curves.

    One that cannot be made is left out with a warning.
    """
    pictures = {}
    sized = {name: ("Heat maps", chart) for name, chart in heat_maps(table).items()}
    with warn_on_failure("parallel.png"):
        if (parallel := parallel_coordinates(table)) is not None:
            sized["parallel.png"] = "Parallel coordinates", parallel
    for name, (heading, chart) in sized.items():
        with warn_on_failure(name):
            assert chart.size is not None
            width, height = chart.size
            png = to_png([chart], (width / 55, height / 55))
            pictures[name] = Picture(heading, [chart], png)
    with warn_on_failure("curves.png"):
        if charts := sweep_curves(table):
            png = to_png(charts, (6, 4.2), columns=2, has_legend_below=True)
            pictures["curves.png"] = Picture("Curves", charts, png)
    return pictures
