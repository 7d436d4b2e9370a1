"""Construction of Lightning's MLflow logger: a local folder or a server, resumed runs go on."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from pytorch_lightning.utilities import rank_zero_only

from dccc_lightning.common import lock
from dccc_lightning.common.files import write_atomically
from dccc_lightning.config.instantiate import Settings, construct, first_line
from dccc_lightning.errors import UserError

RUN_ID = "mlflow_run.txt"
"""File in the run folder with the id of its MLflow run."""

_FOLDER = "mlflow"
"""Folder of the store in a run folder, without another in the settings or the environment."""

_LIMIT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


def build_mlflow_logger(entry: Settings, output: Path, sweep: Settings) -> Any:
    """Build the logger; a resumed run continues its MLflow run.

    Args:
        entry: Settings of ``conf/logger/mlflow.yaml``.
        output: Run folder.
        sweep: Group and name of a job of a sweep; empty for a single run.

    Raises:
        UserError: MLflow is not installed, its server cannot be reached, or refuses.
    """
    needed = ("mlflow", "sqlalchemy", "alembic")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UserError(
            f"logger=mlflow needs {', '.join(missing)}: pip install 'dccc-lightning[mlflow]'"
        )
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
    os.environ.setdefault(_LIMIT, "3")  # of 7, which take four minutes
    import mlflow  # noqa: PLC0415  an extra, slow to import, and it sets levels of its own

    for name in ("mlflow", "alembic", "pytorch_lightning.loggers.mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what it creates is no news
    arguments = {name: value for name, value in entry.items() if value is not None}
    arguments |= store(entry.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI"), output)
    arguments.setdefault("run_name", sweep.get("name", output.resolve().name))
    if sweep:
        arguments["tags"] = {"sweep": sweep["group"]} | dict(arguments.get("tags", {}))
    record = output / RUN_ID
    if record.exists():
        arguments["run_id"] = record.read_text().strip()
    try:
        with _alone(arguments["tracking_uri"]):
            logger = construct("logger", arguments)
            run_id = _connected(logger)
    except mlflow.exceptions.MlflowException as error:
        raise UserError(
            f"logger=mlflow: {first_line(error)[:300]} (tracking_uri "
            f"{arguments['tracking_uri']}); logger.mlflow.tracking_uri=FOLDER logs on this machine"
        ) from error
    if rank_zero_only.rank == 0 and not record.exists():  # type: ignore[attr-defined]
        write_atomically(record, f"{run_id}\n".encode())
    return logger


@contextmanager
def _alone(address: str) -> Iterator[None]:
    """Let one process at a time make the tables of a local database, which MLflow does not."""
    file = Path(f"{address.removeprefix('sqlite:///').partition('?')[0]}.lock")
    is_local = address.startswith("sqlite:///") and file.parent.is_dir()
    while is_local and not lock.take(file):
        time.sleep(0.1)
    try:
        yield
    finally:
        lock.release(file)


def _connected(logger: Any) -> str | None:
    """Return the id of the logger's run, whose experiment another job may have just created."""
    import mlflow  # noqa: PLC0415

    try:
        return cast(str | None, logger.run_id)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return cast(str | None, logger.run_id)


def store(given: str | None, output: Path) -> dict[str, str]:
    """Return the address of the store, and for a new local one the place of its artifacts.

    A folder holds a database, as MLflow no longer writes stores of plain files.

    Args:
        given: Address of a server or database, or a folder; None for one in the run folder.
        output: Run folder.

    >>> store("http://localhost:5000", Path("run"))
    {'tracking_uri': 'http://localhost:5000'}
    """
    given = given or str(output / _FOLDER)
    address = urlsplit(given)
    if address.scheme == "file":
        given = unquote(address.path)
    elif address.scheme or given.startswith("databricks"):
        return {"tracking_uri": given}
    folder = Path(given).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"logger.mlflow.tracking_uri={given}: {error.strerror}") from error
    return {
        "tracking_uri": f"sqlite:///{folder / 'mlflow.db'}",
        "artifact_location": (folder / "artifacts").as_uri(),
    }
