"""The command line: overrides, messages, run folders, resume."""

from dccc_lightning.cli.command import conf_dir, main

__all__ = ["conf_dir", "main"]
