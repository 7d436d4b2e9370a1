"""Tasks of the command line: one module per ``task=NAME``."""
