"""Pages in headless Chromium, where it is installed."""

import json
import os
import re
import select
import shutil
import subprocess
import threading
import time

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


def downloaded(tmp_path, page, script, name, seconds=60):
    """Open a page in a browser that saves downloads, run a script, and return the file saved."""
    ends = os.pipe(), os.pipe()
    command = [CHROMIUM, *FLAGS, "--remote-debugging-pipe",
               f"--user-data-dir={tmp_path / 'profile'}"]  # fmt: skip
    commands, answers = ends[0][0], ends[1][1]
    browser = subprocess.Popen(
        ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "browser", *command],
        pass_fds=(commands, answers), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    waiting, deadline = b"", time.monotonic() + seconds
    session: dict[str, str] = {}

    def ask(method, **given):
        nonlocal waiting
        line = json.dumps({"id": 1, "method": method, "params": given, **session})
        os.write(ends[0][1], line.encode() + b"\0")
        while True:
            message, end, rest = waiting.partition(b"\0")
            if end:
                waiting, answer = rest, json.loads(message)
                if answer.get("id") == 1:
                    assert "error" not in answer, answer
                    return answer["result"]
                continue
            left = deadline - time.monotonic()
            heard = left > 0 and select.select([ends[1][0]], [], [], left)[0]
            assert heard, f"no answer: {method}"
            waiting += os.read(ends[1][0], 1 << 16)

    try:
        folder = tmp_path / "downloads"
        ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        target = ask("Target.createTarget", url=page.as_uri())["targetId"]
        session["sessionId"] = ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        is_there = 'location.protocol == "file:" && document.readyState == "complete"'
        while not ask("Runtime.evaluate", expression=is_there)["result"]["value"]:
            time.sleep(0.02)
        done = ask("Runtime.evaluate", expression=script)
        assert "exceptionDetails" not in done, done
        while not (folder / name).exists():
            assert time.monotonic() < deadline, f"no {name} was saved"
            time.sleep(0.02)
        return folder / name
    finally:
        browser.kill()
        browser.wait()
        for end in (*ends[0], *ends[1]):
            os.close(end)
