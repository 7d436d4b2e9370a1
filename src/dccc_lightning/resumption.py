"""``resume=FOLDER``: the arguments of the run in FOLDER, again, and into the same folder."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from dccc_lightning.errors import UserError

_KEY = "resume="


def resumed_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that continue a run, if ``arguments`` ask for it.

    The arguments that the run was started with come first; new ones win over them.

    Raises:
        UserError: The folder is not that of a run.
    """
    folders = [a.removeprefix(_KEY) for a in arguments if a.startswith(_KEY)]
    if not folders or folders[-1] in ("", "null"):
        return list(arguments)
    folder = Path(folders[-1])
    saved = folder / ".hydra" / "overrides.yaml"
    if not saved.is_file():
        raise UserError(f"resume={folder}: not the folder of a run (no {saved.name} in .hydra)")
    if any(a in ("-m", "--multirun") for a in arguments):
        raise UserError(f"resume={folder}: continues one run, it cannot be part of a sweep")
    outputs = [a.partition("=")[2] for a in arguments if a.startswith("output=")]
    if any(Path(output).resolve() != folder.resolve() for output in outputs):
        raise UserError(f"resume={folder} goes on in that folder; leave output out")
    by_key = {
        argument.partition("=")[0].lstrip("+"): argument
        for argument in [*yaml.safe_load(saved.read_text()), *arguments]
    }
    by_key["output"] = f"output={folder}"
    return list(by_key.values())
