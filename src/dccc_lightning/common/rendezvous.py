"""Place where the processes that torchrun has started meet, a new one after every restart."""

import os
import socket
import time

from torch.distributed import TCPStore  # type: ignore[attr-defined]

PORT = "dccc_lightning/port"
"""Key of the port in the store of torchrun's agent."""

POLL_SECONDS = 0.2

_hosted: list[TCPStore] = []
"""Store of this process, which the process group shares."""


def meet() -> None:
    """Let rank 0 host the store of the process group, at a port that the agent's store tells.

    torchrun keeps one store for all restarts, in which a process may find the address of a process
    that has died, and fail. The port of an earlier rank 0 refuses connections, since torchrun ends
    all processes before it starts others; so a port that accepts one is that of this start.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    agent = TCPStore(host, port, is_master=False)
    if os.environ["RANK"] == "0":
        own = TCPStore(host, 0, is_master=True, wait_for_workers=False, multi_tenant=True)
        _hosted.append(own)
        chosen = own.port
        agent.set(PORT, str(chosen))
    else:
        chosen = int(agent.get(PORT))
        while not _accepts(host, chosen):
            time.sleep(POLL_SECONDS)
            chosen = int(agent.get(PORT))
    os.environ |= {"MASTER_PORT": str(chosen), "TORCHELASTIC_USE_AGENT_STORE": "False"}


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError:
        return False
    return True
