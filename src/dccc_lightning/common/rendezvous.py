"""Place where the processes that torchrun has started meet, a new one after every restart."""

import os
import socket
import time
from datetime import timedelta
from ipaddress import ip_address

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from dccc_lightning.errors import UserError

PLACE = "dccc_lightning/place"
"""Key of rank 0's port and address in the store of torchrun's agent."""

POLL_SECONDS = 0.2

PATIENCE = timedelta(minutes=5)
"""Time in which the processes of all nodes have to start."""

_hosted: list[TCPStore] = []
"""Store of this process, which the process group shares."""


def meet() -> None:
    """Let rank 0 host the store of the process group, at a place that the agent's store tells.

    torchrun keeps one store for all restarts, in which a process may find the address of a process
    that has died, and fail. It stays on its first node, where rank 0 need not be after a restart.
    The port of an earlier rank 0 refuses connections, since torchrun ends all processes before it
    starts others; so a port that accepts one is that of this start.

    Raises:
        UserError: The store or rank 0 cannot be reached.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    agent = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        host, port = _host(*agent) if os.environ["RANK"] == "0" else _find(*agent)
    except (RuntimeError, OSError) as error:  # torch's errors of stores are RuntimeErrors
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the processes of torchrun did not meet at {agent[0]}:{agent[1]} ({reason}); all "
            "nodes must reach that address and each other's ports"
        ) from error
    os.environ |= {
        "MASTER_ADDR": host, "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "False",
    }  # fmt: skip


def _host(host: str, port: int) -> tuple[str, int]:
    """Open a store on this node and tell its place."""
    store = TCPStore(host, port, is_master=False, timeout=PATIENCE)
    with socket.create_connection((host, port)) as connection:
        address = connection.getsockname()[0]
    if not ip_address(address.partition("%")[0]).is_loopback:
        host = address
    own = TCPStore(
        host, 0, is_master=True, wait_for_workers=False, multi_tenant=True, timeout=PATIENCE
    )
    _hosted.append(own)
    store.set(PLACE, f"{own.port} {host}")
    return host, own.port


def _find(host: str, port: int) -> tuple[str, int]:
    """Wait until rank 0 has told its place, and return it."""
    store, until = TCPStore(host, port, is_master=False, timeout=PATIENCE), time.monotonic()
    until += PATIENCE.total_seconds()
    while True:
        chosen, place = store.get(PLACE).decode().split(" ", 1)
        if _accepts(place, int(chosen)):
            return place, int(chosen)
        if time.monotonic() > until:
            raise TimeoutError(f"nothing answers at {place}:{chosen}, where rank 0 was last")
        time.sleep(POLL_SECONDS)


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError:
        return False
    return True
