"""A folder per identity, with links to its images."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from dccc_lightning.errors import UserError

_PLAIN = " !#$&'()+,;=@[]^`{}~"


def link_folders(folder: Path, paths: Sequence[str], identities: Sequence[str]) -> None:
    """Link every image into the folder of its identity; earlier folders are replaced.

    An identity's folder has its id as its name, with ``%2F`` for a slash and so on. Where two
    images of an identity have one file name, theirs begin with their numbers among all images.

    Raises:
        UserError: The file system has no links.
    """
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    names = Counter((own, Path(path).name) for path, own in zip(paths, identities, strict=True))
    try:
        for number, (path, own) in enumerate(zip(paths, identities, strict=True)):
            place = partial / folder_name(own)
            place.mkdir(parents=True, exist_ok=True)
            name = Path(path).name
            (place / (name if names[own, name] == 1 else f"{number}_{name}")).symlink_to(path)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(
            f"{folder}: links cannot be made ({error.strerror}); set folders=false"
        ) from error


def folder_name(identity: str) -> str:
    """Return an id as the name of a folder.

    >>> folder_name("0007"), folder_name("a/b"), folder_name(".."), folder_name("")
    ('0007', 'a%2Fb', '%2E%2E', '%')
    """
    name = quote(identity, safe=_PLAIN)
    return "%" if not name else name.replace(".", "%2E") if set(name) == {"."} else name
