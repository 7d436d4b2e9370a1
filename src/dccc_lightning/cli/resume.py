"""``resume=FOLDER`` and ``ckpt_path=last``: resuming a run in its folder with its settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from dccc_lightning.cli.own_settings import OwnSettings, own_settings
from dccc_lightning.cli.run_folder import has_not_started, has_started
from dccc_lightning.common.overrides import (
    config_dir_flags,
    config_dir_of,
    path_argument,
    split_flags,
)
from dccc_lightning.common.ranks import is_restartable
from dccc_lightning.errors import UserError

OUTPUTS = Path("outputs")
"""Folder of runs without ``output=`` (conf/train.yaml)."""


class Start(NamedTuple):
    """Start of a command, as a new or a resumed run.

    Attributes:
        arguments: Arguments for Hydra.
        folder: Folder of the resumed run; None for a new run.
        own: Settings of the resumed run; None if it has saved only its arguments.
        given: Arguments of this command line, which are trusted.
        all_given: Arguments of this and of earlier command lines.
        config_dir: Value of ``--config-dir`` on this command line.
    """

    arguments: list[str]
    folder: Path | None = None
    own: OwnSettings | None = None
    given: Sequence[str] = ()
    all_given: Sequence[str] = ()
    config_dir: str | None = None


def resumed(arguments: Sequence[str]) -> Start:
    """Return the start of a command.

    ``resume=FOLDER`` resumes a run; ``ckpt_path=last`` resumes the run in ``output``, if it
    exists, or without ``output`` the newest run. Processes that torchrun restarts do so without
    ``ckpt_path``. A resumed run keeps its settings, overridden by arguments. Flags come first,
    since Hydra requires all overrides on one side of its flags.

    Raises:
        UserError: The run does not exist, or the arguments contradict each other.
    """
    flags, given = split_flags(arguments)
    config_dir = config_dir_of(flags)
    new = Start([*flags, *given], given=given, config_dir=config_dir)
    folder, which, output = (_value(given, key) for key in ("resume", "ckpt_path", "output"))
    is_sweep = any(flag in ("-m", "--multirun") for flag in flags)
    if which is not None:
        _check_which(which)
    elif is_restartable() and folder is None and output is not None and not is_sweep:
        which = "last"
    if folder is None and which is None:
        return new._replace(arguments=list(arguments))
    asked = f"resume={folder}" if folder is not None else f"ckpt_path={which}"
    if is_sweep:
        raise UserError(f"{asked}: resumes one run and cannot be part of a sweep")
    if folder is None and output is None:
        folder = str(_newest(_value(given, "dataset")))
    elif folder is None:
        assert output is not None
        if not _is_run(Path(output)):
            if which == "previous":
                raise UserError(f"ckpt_path=previous: {output} contains no run")
            return new
        folder = output
    return _resumed_start(new, flags, folder, which or "last")


def _resumed_start(new: Start, flags: list[str], folder: str, which: str) -> Start:
    """Return the start that resumes the run in a folder, or repeats one with only arguments."""
    saved, place = _saved_arguments(Path(folder)), path_argument("resume", folder)
    if not _is_run(Path(folder)):
        if has_not_started(Path(folder)):
            raise UserError(
                f"{place}: stopped before its settings were written, so no work is lost; repeat "
                f"its command with {path_argument('output', folder)}"
            )
        raise UserError(f"resume={folder}: not a run folder (no overrides.yaml in .hydra)")
    output = _value(new.given, "output")
    if output is not None and Path(output).resolve() != Path(folder).resolve():
        raise UserError(f"resume={folder} continues in that folder; omit output=")
    own = own_settings(Path(folder))
    if new.config_dir is None:
        flags = [*flags, *_saved_flags(Path(folder))]
    # The shell has removed quotes that Hydra needs, so paths are quoted again.
    places = [place, path_argument("output", folder), f"ckpt_path={which}"]
    given = [a for a in new.given if _key(a) not in ("resume", "output", "ckpt_path")]
    earlier = [a for a in saved or () if _key(a) != "trust" and not _key(a).startswith("hydra")]
    rest = given
    if own:
        own.remember(earlier)
        rest = own.choose(given, config_dir_of(flags))
        earlier = [a for a in earlier if not _key(a).startswith(tuple(f"{g}." for g in own.groups))]
    union = {_key(argument): argument for argument in [*earlier, *given, *places]}
    if own is None:
        rest = [a for key, a in union.items() if key not in ("resume", "output", "ckpt_path")]
    return new._replace(
        arguments=[*flags, *rest, *places], folder=Path(folder), own=own,
        all_given=[a for key, a in union.items() if not key.startswith("hydra")],
    )  # fmt: skip


def _is_run(folder: Path) -> bool:
    """Return True if a folder has the settings or the arguments of a run."""
    has_settings = (folder / "config.yaml").is_file() and has_started(folder)
    return has_settings or _saved_arguments(folder) is not None


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+~")


def _check_which(which: str) -> None:
    if which not in ("last", "previous"):
        raise UserError(
            f"ckpt_path={which}: must be last or previous; to start from weights, use "
            "model.weights=PATH"
        )


def _newest(dataset: str | None) -> Path:
    """Return the newest run folder under ``outputs``, optionally of one dataset."""
    runs = [
        path.parent.parent
        for path in OUTPUTS.glob(f"{dataset or '*'}/*/.hydra/overrides.yaml")
        if (path.parent.parent / "metrics.csv").exists()
    ]
    if not runs:
        of = f" of {dataset}" if dataset else ""
        raise UserError(
            f"ckpt_path=last: no run{of} under {OUTPUTS}/ here; give resume=FOLDER or output=FOLDER"
        )
    return max(runs, key=lambda run: (run / "metrics.csv").stat().st_mtime)


def _saved_arguments(folder: Path) -> list[str] | None:
    """Return the arguments of the run in ``folder``; None if it has not written them."""
    saved = _loaded(folder / ".hydra" / "overrides.yaml")
    return [str(argument) for argument in saved] if isinstance(saved, list) else None


def _saved_flags(folder: Path) -> list[str]:
    """Return the flags of the run in ``folder``, if their folder still exists."""
    saved = _loaded(folder / ".hydra" / "hydra.yaml")
    try:
        flags = config_dir_flags(saved["hydra"]["runtime"]["config_sources"])
    except (KeyError, TypeError):  # missing, or not written by Hydra
        return []
    return flags if Path(config_dir_of(flags) or "").is_dir() else []


def _loaded(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _value(arguments: Sequence[str], key: str) -> str | None:
    """Return the last value of ``key`` without quotes; None if it is not given."""
    values = [a.partition("=")[2] for a in arguments if a.partition("=")[0] == key]
    if not values or values[-1] in ("", "null"):
        return None
    if values[-1][0] not in "'\"":
        return values[-1]
    return str(OverridesParser.create().parse_override(f"{key}={values[-1]}").value())
