"""A notebook through the server of another environment's JupyterLab, with a kernel of this one."""

import os
import re
import secrets
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from foreign import foreign_python, run_foreign
from notebook_runs import NOTEBOOKS, kept

pytestmark = pytest.mark.slow

SHORT = "epochs=1 iterations=2 callbacks.panels=null eval_every=1"
CLIENT = textwrap.dedent("""
    import json, sys, urllib.request, uuid
    import nbformat, websocket
    url, token, path = sys.argv[1:]

    def ask(method, place, content=None):
        request = urllib.request.Request(f"{url}/api/{place}", method=method)
        request.add_header("Authorization", f"token {token}")
        data = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(request, data, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    book = nbformat.from_dict(ask("GET", f"contents/{path}")["content"])
    session = ask("POST", "sessions", {
        "path": path, "name": path, "type": "notebook", "kernel": {"name": "dccc"}})
    kernel = session["kernel"]["id"]
    socket = websocket.create_connection(
        f"{url.replace('http', 'ws')}/api/kernels/{kernel}/channels?token={token}", timeout=300)
    for number, cell in enumerate((c for c in book.cells if c.cell_type == "code"), start=1):
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "",
                  "session": session["id"], "date": "", "version": "5.3"}
        socket.send(json.dumps({
            "header": header, "parent_header": {}, "metadata": {}, "channel": "shell",
            "content": {"code": cell.source, "silent": False, "store_history": True,
                        "allow_stdin": False, "stop_on_error": True, "user_expressions": {}}}))
        cell.outputs, cell.execution_count, idle, status = [], number, False, None
        while status is None or not idle:
            message = json.loads(socket.recv())
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if message["channel"] == "iopub" and kind in (
                "stream", "display_data", "execute_result", "error"
            ):
                cell.outputs.append(nbformat.v4.output_from_msg(message))
            idle = idle or kind == "status" and content["execution_state"] == "idle"
            status = content["status"] if kind == "execute_reply" else status
        assert status == "ok", (cell.source, content, cell.outputs)
    ask("PUT", f"contents/{path}", {"type": "notebook", "format": "json", "content": book})
    ask("DELETE", f"sessions/{session['id']}")
""")


@contextmanager
def lab(python: str, folder: Path, environment: dict[str, str]) -> Iterator[list[str]]:
    """Serve a folder with JupyterLab; yield address and token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, token = f"http://127.0.0.1:{port}", secrets.token_hex()
    command = [
        python, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
    ]  # fmt: skip
    with (folder.parent / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            assert server.poll() is None, (folder.parent / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"{url}/api", timeout=5):
                    break
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.1)
        yield [url, token]
    finally:
        server.terminate()
        server.wait(60)


def test_a_notebook_runs_with_the_kernel_of_this_environment(
    made_once, world_folder, tmp_path, monkeypatch
):
    theirs = foreign_python(made_once, "jupyterlab==4.6.6", apart=True)
    look = [theirs, "-I", "-c", "import dccc_lightning"]
    assert subprocess.run(look, capture_output=True, check=False).returncode == 1
    monkeypatch.setenv("HOME", str(tmp_path))
    install = [sys.executable, "-m", "ipykernel", "install", "--user", "--name", "dccc"]
    subprocess.run(install, check=True, capture_output=True)
    book = nbformat.read(NOTEBOOKS["1_quickstart"], as_version=4)
    book.cells = book.cells[: 1 + [cell.id for cell in book.cells].index("curves")]
    for cell in book.cells:
        cell.source = cell.source.replace("epochs=4", SHORT)
        cell.update({"outputs": []} if cell.cell_type == "code" else {})
    folder = tmp_path / "work"
    folder.mkdir()
    nbformat.write(book, folder / "book.ipynb")
    first = {"PATH": f"{Path(theirs).parent}{os.pathsep}{os.environ['PATH']}"}  # as if activated
    with lab(theirs, folder, {**os.environ, **first, "DCCC_CACHE": str(world_folder)}) as server:
        run_foreign(theirs, CLIENT, *server, "book.ipynb")
    run = kept(nbformat.read(folder / "book.ipynb", as_version=4), folder)
    outputs = {cell.id: cell.outputs for cell in run.cells if cell.cell_type == "code"}
    assert outputs["train"][-1].text.endswith("outputs: runs/first\n")
    assert re.match(r"initial +mAP \d+\.\d %", outputs["curves"][0].text)
    shown = [output for each in outputs.values() for output in each if "data" in output]
    assert len(shown) == 2
    assert all({"image/png", "image/jpeg"} & set(output.data) for output in shown)
    assert (folder / "runs" / "first" / "results.json").is_file()
