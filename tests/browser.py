"""Pages in headless Chromium, where it is installed."""

import shutil
import subprocess

CHROMIUM = (
    shutil.which("chromium")
    or shutil.which("google-chrome")
    or shutil.which("chromium-headless-shell", path="/usr/lib/chromium")
)


def chromium(tmp_path, page, *more):
    """Open a page as a browser does; return what it became and what it complained of.

    The page is a path, or an address.
    """
    address = page if isinstance(page, str) else page.as_uri()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"]  # fmt: skip
    done = subprocess.run(
        [CHROMIUM, *flags, *more, f"--user-data-dir={tmp_path / 'profile'}", address],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
