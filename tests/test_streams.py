"""A command whose output has no reader, or whose terminal closes."""

import errno
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from dccc_lightning.cli.early_signals import restore_handlers
from dccc_lightning.common import ranks
from dccc_lightning.common.streams import keep_streams
from dccc_lightning.training.callbacks.stop_signals import StopSignals

SHOWN, NULL = Path("/proc/self/fd/1"), Path("/dev/null")


@contextmanager
def descriptor(target, stream=None):
    """Put a file, or nothing, in the place of descriptor 1, and a stream in that of stdout."""
    streams, kept = (sys.stdin, sys.stdout, sys.stderr), os.dup(1)
    if target is None:
        os.close(1)
    else:
        os.dup2(target, 1)
    sys.stdout = stream
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        os.dup2(kept, 1)
        os.close(kept)


def printed():
    return open(1, "w", encoding="utf-8", closefd=False)


def test_output_is_dropped_once_its_reader_has_left():
    reading, writing = os.pipe()
    os.close(reading)
    with descriptor(writing, printed()):
        with pytest.raises(BrokenPipeError):
            print("as it was", flush=True)
        keep_streams()
        kept = sys.stdout
        keep_streams()  # as a second command of one process
        assert sys.stdout is kept
        for line in ("first", "second"):
            print(line, flush=True)
        assert SHOWN.readlink() == NULL  # also for what C and children print
        assert (sys.stdout.encoding, sys.stdout.fileno()) == ("utf-8", 1)
    os.close(writing)


def test_a_full_disk_is_not_passed_over():
    with Path("/dev/full").open("w") as full, descriptor(full.fileno(), printed()):
        keep_streams()
        with pytest.raises(OSError, match="No space left") as raised:
            print("a result", flush=True)
        assert raised.value.errno == errno.ENOSPC
        print("flushed at the end of Python", flush=True)  # not a second time


def test_a_closed_stream_is_the_null_device():
    with descriptor(None):
        keep_streams()
        print("unseen", flush=True)
        assert SHOWN.readlink() == NULL
        assert sys.stdout.fileno() == 1
        assert not sys.stdout.isatty()


def test_a_descriptor_that_a_file_has_taken_stays_its_own(tmp_path):
    with (tmp_path / "file").open("wb") as file, descriptor(file.fileno()):
        keep_streams()
        assert SHOWN.readlink() == tmp_path / "file"
        print("unseen", flush=True)
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("closed", "code"), [("1>&-", 0), ("2>&-", 0), ("0<&-", 0), (">/dev/full", 2)]
)
def test_a_command_without_a_stream(closed, code, tmp_path):
    ended = subprocess.run(
        ["sh", "-c", f'"$0" -m dccc_lightning --cfg job {closed}', sys.executable],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended
    lines = ended.stderr.splitlines()
    assert len(lines) == (code != 0)
    assert all(line.startswith("error: ") and "No space left" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ignored", [True, False])
def test_a_hangup_stops_a_run_unless_nohup_ignores_it(ignored):
    found = {number: signal.getsignal(number) for number in ranks.STOP_SIGNALS}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
        signals = StopSignals()
        signals.watch()
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.requested() == (0 if ignored else signal.SIGHUP)
        signals.unwatch()
        assert (signal.SIGHUP in ranks.stop_signals()) != ignored
        restore_handlers()
        wanted = signal.SIG_IGN if ignored else signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is wanted
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
