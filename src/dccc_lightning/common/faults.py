"""Conversion of runtime failures (memory, disk, processes) into one-line errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb

from dccc_lightning.common.overrides import path_argument
from dccc_lightning.errors import UnwritableFileError, UserError, is_full_disk

SMALLER_EVAL_BATCH = "lower loader.eval_batch_size"

_KILLED = ("DataLoader worker (pid", "Pin memory thread exited unexpectedly")
"""Prefixes of torch's messages when a loader worker was killed; they have no exception type."""

_NO_SHARED_MEMORY = "unable to allocate shared memory"
"""Part of torch's message when a batch does not fit."""


@contextmanager
def explain_out_of_memory(remedy: str) -> Iterator[None]:
    """Convert CUDA out-of-memory errors within the block.

    Args:
        remedy: Advice that ends the message.

    Raises:
        UserError: The GPU is out of memory.
    """
    try:
        yield
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; not imported for its name
            raise
        raise UserError(f"out of GPU memory: {remedy}") from error


class LostProcessError(UserError):
    """Error of a collective whose other process has ended; that process prints the cause."""


def is_lost_process(error: RuntimeError) -> bool:
    """Return True if a collective failed because another process has ended."""
    kinds = {kind.__name__ for kind in type(error).__mro__}  # torch's; not imported for its name
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return "DistError" in kinds or any(sign in str(error) for sign in signs)


@contextmanager
def explain_failures(output: Path, remedy: str = SMALLER_EVAL_BATCH) -> Iterator[None]:
    """Convert failures of memory, disk and loader workers within the block into one line.

    Args:
        output: Run folder, named in the advice to resume.
        remedy: Advice for an out-of-memory error of the GPU.

    Raises:
        UserError: In place of the failure.
    """
    resume = path_argument("resume", output)
    then_resume = f"then {resume} continues"
    try:
        with explain_out_of_memory(remedy):
            yield
    except RuntimeError as error:
        if is_lost_process(error):
            first = str(error).strip().partition(". ")[0]
            raise LostProcessError(
                "another process of this run has ended, and said why unless it was killed "
                f"({first}); {resume} continues"
            ) from error
        if _NO_SHARED_MEMORY in str(error):
            raise UserError(
                "shared memory, through which loader workers send images, is full: raise it "
                f"(docker's --shm-size) or lower loader.workers, {then_resume}"
            ) from error
        if not str(error).startswith(_KILLED):
            raise
        raise _killed_worker(then_resume) from error
    except (ConnectionResetError, BrokenPipeError, EOFError) as error:
        if not _comes_from_loader(error):
            raise
        raise _killed_worker(then_resume) from error
    except UnwritableFileError as error:
        raise UserError(f"{error}; {then_resume}") from error
    except OSError as error:
        if not is_full_disk(error):
            raise
        where = error.filename or output
        raise UserError(
            f"{where} cannot be written: {error.strerror}; free disk space, {then_resume}"
        ) from error


@contextmanager
def explain_unknown_home() -> Iterator[None]:
    """Convert Python's error about ``~`` without a home folder within the block.

    Raises:
        UserError: HOME is not set and the user has no account, or ``~NAME`` has none.
    """
    try:
        yield
    except RuntimeError as error:
        if "home directory" not in str(error):  # of pathlib
            raise
        raise UserError(
            "no home folder to put in place of ~ : set HOME, or give whole paths, such as "
            "dataset.root= for images that are drawn"
        ) from error


def _comes_from_loader(error: BaseException) -> bool:
    """Return True if the broken connection was to a DataLoader worker."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return any(m.startswith("torch.utils.data") for m in modules) and any(
        m.startswith(("multiprocessing.", "torch.multiprocessing")) for m in modules
    )


def _killed_worker(then_resume: str) -> UserError:
    return UserError(
        "a loader worker was killed, most often for lack of memory: lower loader.workers, "
        f"{then_resume}"
    )
