"""``resume=FOLDER`` and ``ckpt_path=last``: a run goes on in its folder, with its own settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from dccc_lightning.cli.own_settings import OwnSettings, own_settings
from dccc_lightning.cli.run_folder import has_begun, never_began
from dccc_lightning.common.overrides import (
    config_dir_flags,
    config_dir_of,
    path_argument,
    split_flags,
)
from dccc_lightning.errors import UserError

OUTPUTS = Path("outputs")
"""Where runs are whose ``output`` was not given (conf/train.yaml)."""


class Start(NamedTuple):
    """How a command begins.

    Attributes:
        arguments: For Hydra.
        folder: Of the run that goes on; None for a new one.
        own: The settings that it goes on with; None if the run has only its arguments yet.
        given: The arguments of this command line, which the user answers for.
        all_given: With those of earlier starts.
        config_dir: The user's own configuration, where this command line names it.
    """

    arguments: list[str]
    folder: Path | None = None
    own: OwnSettings | None = None
    given: Sequence[str] = ()
    all_given: Sequence[str] = ()
    config_dir: str | None = None


def resumed(arguments: Sequence[str]) -> Start:
    """Return how a command begins, which may be the middle of a run.

    ``resume=FOLDER`` names the run; ``ckpt_path=last`` means the one in ``output``, if there is one
    yet, or without ``output`` the newest. It goes on with its own settings; arguments win over
    them. Flags come first: Hydra reads settings on one side of them alone.

    Raises:
        UserError: There is no such run, or the arguments contradict each other.
    """
    flags, given = split_flags(arguments)
    config_dir = config_dir_of(flags)
    new = Start([*flags, *given], given=given, config_dir=config_dir)
    folder, which, output = (_value(given, key) for key in ("resume", "ckpt_path", "output"))
    if which is not None:
        _check_which(which)
    if folder is None and which is None:
        return new._replace(arguments=list(arguments))
    asked = f"resume={folder}" if folder is not None else f"ckpt_path={which}"
    if any(flag in ("-m", "--multirun") for flag in flags):
        raise UserError(f"{asked}: continues one run, it cannot be part of a sweep")
    if folder is None and output is None:
        folder = str(_newest(_value(given, "dataset")))
    elif folder is None:
        assert output is not None
        if not _is_run(Path(output)):
            if which == "previous":
                raise UserError(f"ckpt_path=previous: {output} holds no run")
            return new
        folder = output
    return _going_on(new, flags, folder, which or "last")


def _going_on(new: Start, flags: list[str], folder: str, which: str) -> Start:
    """Return how the run in a folder goes on, or begins if it has only its arguments yet."""
    saved, place = _saved_arguments(Path(folder)), path_argument("resume", folder)
    if not _is_run(Path(folder)):
        if never_began(Path(folder)):
            raise UserError(
                f"{place}: stopped before its settings were written, so nothing is lost; repeat "
                f"its own command with {path_argument('output', folder)}"
            )
        raise UserError(f"resume={folder}: not the folder of a run (no overrides.yaml in .hydra)")
    output = _value(new.given, "output")
    if output is not None and Path(output).resolve() != Path(folder).resolve():
        raise UserError(f"resume={folder} goes on in that folder; leave output out")
    own = own_settings(Path(folder))
    if new.config_dir is None:
        flags = [*flags, *_saved_flags(Path(folder))]
    # A shell takes the quotes away that Hydra wants to see, so the places get their own anew.
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
    """Tell whether a folder has the settings of a run, or at least its arguments."""
    has_settings = (folder / "config.yaml").is_file() and has_begun(folder)
    return has_settings or _saved_arguments(folder) is not None


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+~")


def _check_which(which: str) -> None:
    if which not in ("last", "previous"):
        raise UserError(
            f"ckpt_path={which}: must be last or previous; a run that begins from weights takes "
            "model.weights=PATH"
        )


def _newest(dataset: str | None) -> Path:
    """Return the newest folder of a run under ``outputs``, of one dataset if that is given."""
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
    """Return what the run in ``folder`` was started with; None if it was killed before it said."""
    saved = _loaded(folder / ".hydra" / "overrides.yaml")
    return [str(argument) for argument in saved] if isinstance(saved, list) else None


def _saved_flags(folder: Path) -> list[str]:
    """Return the flags that the run in ``folder`` was started with, if they still mean a folder."""
    saved = _loaded(folder / ".hydra" / "hydra.yaml")
    try:
        flags = config_dir_flags(saved["hydra"]["runtime"]["config_sources"])
    except (KeyError, TypeError):  # no such file, or none of Hydra
        return []
    return flags if Path(config_dir_of(flags) or "").is_dir() else []


def _loaded(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _value(arguments: Sequence[str], key: str) -> str | None:
    """Return the last value given to ``key``, without quotes; None if there is none."""
    values = [a.partition("=")[2] for a in arguments if a.partition("=")[0] == key]
    if not values or values[-1] in ("", "null"):
        return None
    if values[-1][0] not in "'\"":
        return values[-1]
    return str(OverridesParser.create().parse_override(f"{key}={values[-1]}").value())
