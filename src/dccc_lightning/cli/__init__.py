"""The command line: overrides, messages, run folders, resume."""

import sys

from dccc_lightning.cli.configuration import conf_dir
from dccc_lightning.cli.early_signals import obeyed

__all__ = ["conf_dir", "main"]


def main() -> None:
    """Run the command line; signals are obeyed before anything is imported that takes time."""
    try:
        with obeyed(sys.argv[1:]):
            from dccc_lightning.cli import command  # noqa: PLC0415

            command.main()
    except KeyboardInterrupt:  # while it imports
        raise SystemExit(130) from None
