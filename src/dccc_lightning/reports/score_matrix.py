"""Matrix of scores, networks by datasets, as Markdown, CSV and tables for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from dccc_lightning.common.text_files import csv_text
from dccc_lightning.reports.results import SCORE_NAMES, cell, noted

RANKINGS = {"cosine": "cosine", "reranked": "re-ranked", "ca_reranked": "re-ranked by camera"}
"""Names of the rankings in tables."""

HEADLINES = ("mAP", "rank1")
"""Measures in a cell of the matrix."""


@dataclass(frozen=True)
class ScoreMatrix:
    """Scores in per cent by network, dataset, ranking and measure.

    Attributes:
        scores: ``scores[network][dataset][ranking][measure]``; all rows have the same columns and
            all cells the same rankings.
        note: Said beside all of them, if not empty.
        protocols: Evaluation protocol by dataset; named beside it.
    """

    scores: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
    note: str = ""
    protocols: Mapping[str, str] = field(default_factory=dict)

    @property
    def networks(self) -> Sequence[str]:
        """Names of the rows."""
        return tuple(self.scores)

    @property
    def datasets(self) -> Sequence[str]:
        """Names of the columns."""
        return tuple(next(iter(self.scores.values())))

    @property
    def rankings(self) -> Sequence[str]:
        """Rankings of the scores, a subset of ``RANKINGS``."""
        return tuple(next(iter(next(iter(self.scores.values())).values())))

    def markdown(self) -> str:
        """Return a table of ``mAP / rank-1`` for each ranking: rows networks, columns datasets."""
        blocks = []
        for ranking in self.rankings:
            names = " / ".join(SCORE_NAMES[measure] for measure in HEADLINES)
            rows = [
                [
                    noted(f"{names}, {RANKINGS[ranking]}", self.note),
                    *map(self._title, self.datasets),
                ]
            ]
            rows.append(["---", *("---:" for _ in self.datasets)])
            rows += [
                [network, *(self._cell(network, dataset, ranking) for dataset in self.datasets)]
                for network in self.networks
            ]
            lines = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)
            blocks.append("".join(f"| {line} |\n" for line in lines))
        return "\n".join(blocks)

    def csv(self) -> str:
        """Return one table: rows networks, columns datasets, rankings and headline measures."""
        columns = [
            (dataset, ranking, measure)
            for ranking in self.rankings
            for dataset in self.datasets
            for measure in HEADLINES
        ]
        titles = [" ".join([self._title(dataset), *rest]) for dataset, *rest in columns]
        lines = [[noted("checkpoint", self.note), *titles]]
        for network in self.networks:
            cells = [self.scores[network][d][ranking][measure] for d, ranking, measure in columns]
            lines.append([network, *(f"{cell:.4f}" for cell in cells)])
        return csv_text(lines)

    def tables(self) -> list[Table]:
        """Return a table of all measures for each dataset: rows networks and rankings."""
        return [self._table(dataset) for dataset in self.datasets]

    def _table(self, dataset: str) -> Table:
        table = Table(
            title=noted(f"{self._title(dataset)}, per cent", self.note), title_justify="left"
        )
        table.add_column("", overflow="fold")
        for title in SCORE_NAMES.values():
            table.add_column(title, justify="right", no_wrap=True)
        for network in self.networks:
            for ranking in self.rankings:
                scores = self.scores[network][dataset][ranking]
                name = network if ranking == "cosine" else f"{network}, {RANKINGS[ranking]}"
                table.add_row(name, *(cell(scores, measure) for measure in SCORE_NAMES))
        return table

    def _cell(self, network: str, dataset: str, ranking: str) -> str:
        scores = self.scores[network][dataset][ranking]
        return " / ".join(cell(scores, measure) for measure in HEADLINES)

    def _title(self, dataset: str) -> str:
        """Return a dataset with its protocol."""
        name = self.protocols.get(dataset)
        return f"{dataset} ({name})" if name else dataset
