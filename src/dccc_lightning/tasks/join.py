"""``task=join``: one embedding of the parts that an array of jobs has made."""

from functools import partial
from pathlib import Path
from typing import Any

from dccc_lightning.common import checks
from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.errors import UserError
from dccc_lightning.inference.bulk_embedding import MANIFEST, PARTIAL
from dccc_lightning.inference.joined_parts import join_parts


def join(settings: Settings, output: Path) -> dict[str, Any]:
    """Join the outputs of ``task=embed part=I/N``.

    Args:
        settings: Composed configuration; only ``parts`` is used.
        output: Folder to write the files of ``task=embed`` to.

    Returns:
        The content of embeddings.json.

    Raises:
        UserError: The parts are not those of one embedding, each once and finished.
    """
    folders = _folders(settings["parts"], output)
    manifest = join_parts(folders, output)
    skipped = f", {manifest['skipped']:,} unreadable skipped" if manifest["skipped"] else ""
    CONSOLE.print(
        f"joined {counted(len(folders), 'part')}: {counted(manifest['images'], 'image')} "
        f"(D = {manifest['feature_dim']}){skipped}"
    )
    return manifest


def _folders(value: Any, output: Path) -> list[Path]:
    """Return the folders of the parts: those of a list, or those in a folder except the output.

    Raises:
        UserError: There are none.
    """
    if value is None:
        raise UserError("parts= is needed: the folder with the parts of task=embed part=I/N")
    if isinstance(value, list):
        found = [checked("settings", partial(checks.path, "parts", entry)) for entry in value]
    else:
        folder = checked("settings", lambda: checks.path("parts", value))
        if not folder.is_dir():
            raise UserError(f"parts={value}: no such folder")
        found = sorted(
            child
            for child in folder.iterdir()
            if ((child / MANIFEST).is_file() or (child / PARTIAL).is_dir())
            and child.resolve() != output.resolve()
        )
    if not found:
        raise UserError(f"parts={value}: no parts of task=embed part=I/N there")
    return found
