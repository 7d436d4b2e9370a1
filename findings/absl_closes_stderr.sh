#!/usr/bin/env bash
# absl-py 2.5.1, imported while sys.stderr is captured (a test, a notebook, redirect_stderr)
#
# Importing absl.logging (OpenVINO does it) makes a handler for the sys.stderr of that moment. Later,
# with another sys.stderr in place, a program sets up its logging by logging.config.dictConfig, as
# Hydra does. Expected: the captured stream stays open, it belongs to whoever captured. What happens:
# dictConfig closes all handlers, and absl's closes its stream, because it is not the present stderr.
# Cost: under pytest the file of the capture is closed: every test after that one fails in its setup
# with "I/O operation on closed file", and pytest itself ends with "lost sys.stderr".
#
# Seen:
#   after the import: closed False; after dictConfig: closed True
set -euo pipefail
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
packages=(absl-py==2.5.1)
if command -v uv >/dev/null; then
  uv venv -q -p python3 "$d/venv"; uv pip install -q -p "$d/venv/bin/python" "${packages[@]}"
else
  python3 -m venv "$d/venv"; "$d/venv/bin/pip" install -q "${packages[@]}"
fi
"$d/venv/bin/python" - <<'PY'
import contextlib
import io
import logging.config
import sys

captured = io.StringIO()
with contextlib.redirect_stderr(captured):
    import absl.logging  # noqa: F401
before = captured.closed
logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
print(f"after the import: closed {before}; after dictConfig: closed {captured.closed}")
if (before, captured.closed) != (False, True):
    sys.exit("the behaviour has changed")
PY
