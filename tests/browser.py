"""Pages in headless Chromium, where it is installed."""

import json
import re
import shutil
import subprocess
import threading

CHROMIUM = (
    shutil.which("chromium")
    or shutil.which("google-chrome")
    or shutil.which("chromium-headless-shell", path="/usr/lib/chromium")
)


FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr",
)  # fmt: skip


def chromium(tmp_path, page, *more):
    """Open a page as a browser does; return what it became and what it complained of.

    The page is a path, or an address.
    """
    address = page if isinstance(page, str) else page.as_uri()
    done = subprocess.run(
        [CHROMIUM, *FLAGS, "--virtual-time-budget=2000", "--dump-dom", *more,
         f"--user-data-dir={tmp_path / 'profile'}", address],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def acted(tmp_path, page, *more, seconds=150):
    """Open a page that acts and draws, in real time, until it logs ``TOLD`` and JSON.

    Returns:
        The JSON, and what the browser complained of.
    """
    # one directory for each: the browser ends a little after this function
    command = [CHROMIUM, *FLAGS, "--remote-debugging-port=0", *more,
               f"--user-data-dir={tmp_path / page.stem}-profile", page.as_uri()]  # fmt: skip
    complaints = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as browser:
        assert browser.stderr is not None
        limit = threading.Timer(seconds, browser.kill)
        limit.start()
        try:
            for line in browser.stderr:
                if found := re.search('"TOLD (.*)", source: ', line):
                    return json.loads(found[1]), complaints
                if "CONSOLE" in line:
                    complaints.append(line)
        finally:
            limit.cancel()
            browser.kill()
    raise AssertionError(f"the page told nothing within {seconds} s: {complaints}")
