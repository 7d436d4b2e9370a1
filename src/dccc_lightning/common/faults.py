"""What can go wrong from outside while a run is under way, each in a line with its remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb

from dccc_lightning.common.overrides import path_argument
from dccc_lightning.errors import UnwritableFileError, UserError, is_full_disk

SMALLER_EVAL_BATCH = "lower loader.eval_batch_size"

_KILLED = ("DataLoader worker (pid", "Pin memory thread exited unexpectedly")
"""Beginnings of torch's messages, which has no type for them, when a loader worker was killed."""


@contextmanager
def enough_memory(remedy: str) -> Iterator[None]:
    """Say what to lower when a GPU's memory is used up within.

    Raises:
        UserError: In place of CUDA's error.
    """
    try:
        yield
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; not imported for its name
            raise
        raise UserError(f"out of GPU memory: {remedy}") from error


class LostProcessError(UserError):
    """Another process has failed, or may have; the reason is what that one says."""


def is_lost_process(error: RuntimeError) -> bool:
    """Tell whether a collective failed because a process that takes part is gone."""
    kinds = {kind.__name__ for kind in type(error).__mro__}  # torch's; not imported for its name
    return "DistError" in kinds or any(
        sign in str(error) for sign in ("Connection closed by peer", "Connection reset by peer")
    )


@contextmanager
def explained(output: Path, remedy: str = SMALLER_EVAL_BATCH) -> Iterator[None]:
    """Turn failures of memory, disk and workers in a run into one line.

    Args:
        output: The run's folder, from which it can go on.
        remedy: What to do when a GPU's memory is used up.

    Raises:
        UserError: In place of the failure.
    """
    resume = path_argument("resume", output)
    goes_on = f"then {resume} continues"
    try:
        with enough_memory(remedy):
            yield
    except RuntimeError as error:
        if is_lost_process(error):
            first = str(error).strip().partition(". ")[0]
            raise LostProcessError(
                "another process of this run has ended, and said why unless it was killed "
                f"({first}); {resume} continues"
            ) from error
        if not str(error).startswith(_KILLED):
            raise
        raise _killed_worker(goes_on) from error
    except (ConnectionResetError, BrokenPipeError, EOFError) as error:
        if not _comes_from_loader(error):
            raise
        raise _killed_worker(goes_on) from error
    except UnwritableFileError as error:
        raise UserError(f"{error}; {goes_on}") from error
    except OSError as error:
        if not is_full_disk(error):
            raise
        where = error.filename or output
        raise UserError(
            f"{where} cannot be written: {error.strerror}; make room, {goes_on}"
        ) from error


def _comes_from_loader(error: BaseException) -> bool:
    """Tell whether the connection to a loader worker broke, and not a file or another program's."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return any(m.startswith("torch.utils.data") for m in modules) and any(
        m.startswith(("multiprocessing.", "torch.multiprocessing")) for m in modules
    )


def _killed_worker(goes_on: str) -> UserError:
    return UserError(
        "a loader worker was killed, most often for want of memory: lower loader.workers, "
        f"{goes_on}"
    )
