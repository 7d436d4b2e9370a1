"""``-m ... --cfg job``: listing of a sweep's jobs with the configuration of the first."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from dccc_lightning.cli import setting_names
from dccc_lightning.common.overrides import split_flags
from dccc_lightning.sweeps.job_clock import varying
from dccc_lightning.sweeps.search_space import parse_space

_MULTIRUN = ("-m", "--multirun")
SHOWN = 50
"""Maximum number of listed jobs."""


def is_preview(arguments: Sequence[str]) -> bool:
    """Return True if arguments ask for the configuration of a sweep."""
    flags, _ = split_flags(arguments)
    shows = any(flag.partition("=")[0] in ("--cfg", "-c") for flag in flags)
    return shows and any(flag in _MULTIRUN for flag in flags)


def preview(arguments: Sequence[str], conf_dir: Path) -> list[str]:
    """Print the jobs of a sweep as comments, and return arguments that show the first.

    Args:
        arguments: Arguments of the command line.
        conf_dir: Configuration folder.
    """
    flags, settings = split_flags(arguments)
    places = setting_names.folders(conf_dir, arguments)
    drawn, trials, jobs = _jobs(settings, places)
    if drawn:
        print(f"# {trials} trials draw {' '.join(drawn)}; this is one end of the ranges")
    else:
        for number, job in enumerate(jobs[:SHOWN], 1):
            print(f"# job {number} of {len(jobs)}: {varying(jobs, job)}")
        if len(jobs) > SHOWN:
            print(f"# and {len(jobs) - SHOWN} more")
        print("# the configuration of job 1:")
    return [*(flag for flag in flags if flag not in _MULTIRUN), *jobs[0]]


def _jobs(
    settings: Sequence[str], places: Sequence[Path]
) -> tuple[list[str], int, list[list[str]]]:
    """Return the ranges and number of trials of a study, and the arguments of each job."""
    own = ",".join(f"'file://{place}'" for place in places[1:])
    path = [f"hydra.searchpath=[{own}]"] if own else []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(places[0]), version_base="1.3"):
        parser = OverridesParser.create()
        fixed = [o.input_line or "" for o in parser.parse_overrides(list(settings))
                 if not o.is_sweep_override()]  # fmt: skip
        sweeper = compose("train", [*path, *fixed], return_hydra_config=True).hydra.sweeper
    swept = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    if str(sweeper._target_).endswith("OptunaSweeper"):
        space = parse_space(parser, [*swept, *settings])
        ranges = [a for a in (*swept, *settings) if a.partition("=")[0] in space.ranges]
        return ranges, int(sweeper.trials), [space.corner()]
    batches = BasicSweeper.split_arguments(parser.parse_overrides([*swept, *settings]), None)
    return [], 0, [list(job) for batch in batches for job in batch]
