"""``resume=FOLDER`` and ``ckpt_path=last``: the arguments of a run, again, into the same folder."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from dccc_lightning.arguments import config_dir_flags, path_argument, split_flags
from dccc_lightning.errors import UserError

OUTPUTS = Path("outputs")
"""Where runs are whose ``output`` was not given (conf/train.yaml)."""


def resumed_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that continue a run, if ``arguments`` ask for it.

    Flags come first: Hydra reads settings on one side of them alone.

    ``resume=FOLDER`` names the run; ``ckpt_path=last`` means the one in ``output``, if there is one
    yet, or without ``output`` the newest. The arguments that the run was started with come first;
    new ones win over them.

    Raises:
        UserError: There is no such run, or the arguments contradict each other.
    """
    flags, settings = split_flags(arguments)
    arguments = [*flags, *settings]
    folder = _value(arguments, "resume")
    if folder is None:
        return _continued_if_begun(arguments)
    saved = _saved_arguments(Path(folder))
    if saved is None:
        raise UserError(f"resume={folder}: not the folder of a run (no overrides.yaml in .hydra)")
    if any(a in ("-m", "--multirun") for a in arguments):
        raise UserError(f"resume={folder}: continues one run, it cannot be part of a sweep")
    output = _value(arguments, "output")
    if output is not None and Path(output).resolve() != Path(folder).resolve():
        raise UserError(f"resume={folder} goes on in that folder; leave output out")
    if not any(flag.startswith(("--config-dir", "-cd")) for flag in flags):
        flags += _saved_flags(Path(folder))
    by_key = {argument.partition("=")[0].lstrip("+"): argument for argument in [*saved, *settings]}
    # A shell takes the quotes away that Hydra wants to see, so resume gets its own anew.
    by_key |= {key: path_argument(key, folder) for key in ("resume", "output")}
    if (which := _value(arguments, "ckpt_path")) is not None:
        _check_which(which)
    else:
        by_key["ckpt_path"] = "ckpt_path=last"
    return [*flags, *by_key.values()]


def _continued_if_begun(arguments: list[str]) -> list[str]:
    """Resume for ``ckpt_path``, or start where ``output`` holds no run yet."""
    which = _value(arguments, "ckpt_path")
    if which is None:
        return arguments
    _check_which(which)
    if any(a in ("-m", "--multirun") for a in arguments):
        raise UserError(f"ckpt_path={which}: continues one run, it cannot be part of a sweep")
    output = _value(arguments, "output")
    if output is None:
        newest = _newest(_value(arguments, "dataset"))
        return resumed_arguments([*arguments, path_argument("resume", newest)])
    if _saved_arguments(Path(output)) is not None:
        return resumed_arguments([*arguments, path_argument("resume", output)])
    if which == "previous":
        raise UserError(f"ckpt_path=previous: {output} holds no run")
    return arguments


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
    """Return what the run in ``folder`` was started with; None if there is none."""
    path = folder / ".hydra" / "overrides.yaml"
    return list(yaml.safe_load(path.read_text())) if path.is_file() else None


def _saved_flags(folder: Path) -> list[str]:
    """Return the flags that the run in ``folder`` was started with, and needs again."""
    path = folder / ".hydra" / "hydra.yaml"
    saved = yaml.safe_load(path.read_text()) if path.is_file() else None
    return config_dir_flags(saved["hydra"]["runtime"]["config_sources"]) if saved else []


def _value(arguments: Sequence[str], key: str) -> str | None:
    """Return the last value given to ``key``, without quotes; None if there is none."""
    values = [a.partition("=")[2] for a in arguments if a.partition("=")[0] == key]
    if not values or values[-1] in ("", "null"):
        return None
    if values[-1][0] not in "'\"":
        return values[-1]
    return str(OverridesParser.create().parse_override(f"{key}={values[-1]}").value())
