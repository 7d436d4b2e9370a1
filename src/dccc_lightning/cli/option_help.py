"""Let Hydra declare its options on Python 3.14, whose argparse checks help texts early."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unchecked_objects() -> Iterator[None]:
    """Accept help that is no string, as argparse did before Python 3.14.

    Hydra 1.3 passes an object as the help of ``--shell-completion``, to build its text when it is
    shown; Python 3.14 looks for a ``%`` in it as soon as the option is added, and fails.
    """
    container = argparse._ActionsContainer
    check = getattr(container, "_check_help", None)
    if check is None:
        yield
        return

    def check_strings(parser: argparse.ArgumentParser, action: argparse.Action) -> None:
        if action.help is None or isinstance(action.help, str):
            check(parser, action)

    setattr(container, "_check_help", check_strings)  # noqa: B010
    try:
        yield
    finally:
        setattr(container, "_check_help", check)  # noqa: B010
