"""Command line: overrides, error messages, run folders and resuming."""

import sys

from dccc_lightning.cli.configuration import conf_dir
from dccc_lightning.cli.early_signals import handling_stop_signals
from dccc_lightning.common.allocator import keep_freed_memory
from dccc_lightning.common.streams import keep_streams
from dccc_lightning.common.torch_libraries import load_own_libraries
from dccc_lightning.common.waiting_threads import sleep_when_idle

__all__ = ["conf_dir", "main"]


def main() -> None:
    """Run the command line, with signal handlers installed before slow imports."""
    keep_streams()
    keep_freed_memory()
    sleep_when_idle()
    load_own_libraries()
    try:
        with handling_stop_signals(sys.argv[1:]):
            from dccc_lightning.cli import command  # noqa: PLC0415

            command.main()
    except KeyboardInterrupt:  # during imports
        raise SystemExit(130) from None
