"""What the ablation study runs: grids, worlds, seeds; the most important first."""

import itertools
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from dccc_lightning import cli

WORLDS = {"default": "dataset.camera_shift=1.0", "harsh": "dataset.camera_shift=1.3"}
PAIRS = {"choice": "dataset.seed=1", "report": "dataset.seed=2"}
"""Settings may be chosen on the one; the other is for reporting and nothing else."""


class Table(NamedTuple):
    """A grid of conf/sweep/study, the pair of worlds that it runs on, and which of the two."""

    grid: str
    pair: str
    worlds: tuple[str, ...]


BOTH = ("default", "harsh")
DEFAULT = ("default",)
TABLES = (
    Table("parts", "report", BOTH),
    Table("plus", "choice", BOTH),
    Table("plus_starts", "choice", BOTH),
    Table("parts_plus", "choice", DEFAULT),
    Table("plus_memory", "choice", BOTH),
    Table("plus_tau_w", "choice", DEFAULT),
    Table("dccc_plus", "report", BOTH),
    Table("camera", "report", BOTH),
    Table("additions", "report", BOTH),
    Table("starts", "choice", DEFAULT),
    Table("epochs", "report", DEFAULT),
    Table("additions_adaptive", "report", DEFAULT),
    Table("outliers", "report", DEFAULT),
    Table("features", "report", DEFAULT),
    Table("refine", "report", DEFAULT),
    Table("clustering", "report", DEFAULT),
    Table("adaptive", "report", DEFAULT),
    Table("memory", "report", DEFAULT),
    Table("loss", "report", DEFAULT),
    Table("warmup", "report", DEFAULT),
    Table("tau_w", "report", DEFAULT),
    Table("smoothing", "report", DEFAULT),
    Table("instances", "report", DEFAULT),
    Table("parts_plus", "report", DEFAULT),
    Table("dcps", "report", DEFAULT),
    Table("adaptive_starts", "report", DEFAULT),
    Table("adaptive_plus", "report", DEFAULT),
    Table("clustering_plus", "report", DEFAULT),
    Table("features_plus", "report", DEFAULT),
    Table("refine_plus", "report", DEFAULT),
    Table("test_time", "report", DEFAULT),
)

STAGES = ((1, 2, 3), (4, 5))
"""Seeds: all tables get those of a stage before the next one begins."""

SEEDS = sum(STAGES, ())
"""What was chosen was chosen by those of the first stage; the tables have all."""

SHARED = ["sweep=study"]
"""Arguments of every run; the grids differ from this one in what they sweep alone."""


class Job(NamedTuple):
    """One run: its worlds and which of them, what differs from the shared settings, its seed."""

    pair: str
    world: str
    changes: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        parts = (f"{self.pair}-{self.world}", *self.changes, f"seed={self.seed}")
        return re.sub(r"[^\w.=,+-]+", "_", ",".join(parts))

    def arguments(self, folder: Path) -> list[str]:
        """Return its command line."""
        place = [PAIRS[self.pair], WORLDS[self.world], f"seed={self.seed}"]
        output = str((folder / self.name).resolve())
        return [*SHARED, *self.changes, *place, f"hydra.run.dir='{output}'"]


class Row(NamedTuple):
    """One setting of a table: its arguments, and those of them that change something."""

    arguments: Mapping[str, str]
    changes: tuple[str, ...]


@cache
def composed(preset: str, *options: str) -> DictConfig:
    """Compose the settings of a sweep with options of groups, Hydra's own included."""
    return compose_all([f"sweep={preset}", *options])


def compose_all(arguments: list[str]) -> DictConfig:
    """Compose the settings of a command line, Hydra's own included."""
    with initialize_config_dir(str(cli.conf_dir()), version_base="1.3"):
        return compose("train", arguments, return_hydra_config=True)


@cache
def rows(grid: str) -> list[Row]:
    """Return the settings of a grid; worlds and seeds are no part of it."""
    shared = composed("study").hydra.sweeper.params
    swept = composed(f"study/{grid}").hydra.sweeper.params.items()
    values = {key: swept_values(f"{key}={value}") for key, value in swept if key not in shared}
    combined = itertools.product(*values.values())
    settings = [dict(zip(values, row, strict=True)) for row in combined]
    return [Row(row, changes(row)) for row in settings]


def swept_values(argument: str) -> list[str]:
    """Return what an argument runs through; a single value is a column as well."""
    override = parsed(argument)
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    return list(map(str, override.sweep_string_iterator()))


def changes(row: Mapping[str, str]) -> tuple[str, ...]:
    """Return those of a row's arguments that are neither shared settings nor defaults."""
    groups = composed("study").hydra.runtime.choices
    options = [f"{k}={text}" for k, text in row.items() if k in groups and k != "experiment"]
    chosen = composed("study", *options)
    different = []
    for key, text in row.items():
        if key == "experiment":
            different += [part for part in parts_of(text) if part.partition("=")[0] not in row]
            continue  # what the row says itself wins
        usual = groups[key] if key in groups else OmegaConf.select(chosen, key)
        if OmegaConf.is_config(usual):
            usual = OmegaConf.to_container(usual, resolve=True)
        if parsed(f"{key}={text}").value() != usual:
            different.append(f"{key}={text}")
    return tuple(sorted(different))


@cache
def parts_of(experiment: str) -> list[str]:
    """Return what an experiment chooses otherwise, so that its runs have one name."""
    shared = composed("study")
    chosen = compose_all(["sweep=study", f"experiment={experiment}"])
    usual, choices = shared.hydra.runtime.choices, chosen.hydra.runtime.choices
    parts = {key: value for key, value in choices.items() if value != usual.get(key)}
    values = leaves(chosen).items() - leaves(shared).items()
    other = {
        key: str(OmegaConf.select(chosen, key))
        for key, _ in values
        if key.partition(".")[0] not in parts
        and OmegaConf.select(chosen, key) != OmegaConf.select(shared, key)
    }
    return [f"{key}={value}" for key, value in (parts | other).items() if key != "experiment"]


def leaves(settings: DictConfig) -> dict[str, str]:
    """Return all settings but those of Hydra, each by its name, references unresolved."""

    def walk(node: Any, place: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, dict):
            for key, value in node.items():
                yield from walk(value, f"{place}.{key}" if place else key)
        else:
            yield place, str(node)

    plain = OmegaConf.to_container(OmegaConf.masked_copy(settings, settings.keys() - {"hydra"}))
    return dict(walk(plain, ""))


def parsed(argument: str) -> Any:
    """Read an argument as Hydra does."""
    return OverridesParser.create().parse_override(argument)


def title(grid: str) -> str:
    """Return the comment that the file of a grid begins with."""
    lines = (cli.conf_dir() / "sweep" / "study" / f"{grid}.yaml").read_text().splitlines()[1:]
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.removeprefix("# ") for line in comment)


def jobs_of(table: Table) -> list[Job]:
    """Return the runs of a table, seed after seed."""
    return [
        Job(table.pair, world, row.changes, seed)
        for seed, row, world in itertools.product(SEEDS, rows(table.grid), table.worlds)
    ]


def plan() -> list[Job]:
    """Return every run once, in the order in which they are to be made."""
    tables = [jobs_of(table) for table in TABLES]
    ordered = [job for stage in STAGES for jobs in tables for job in jobs if job.seed in stage]
    return list(dict.fromkeys(ordered))
