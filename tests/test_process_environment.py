"""Which program started the processes, by what real SLURM sets (tests/slurm has the runs)."""

import os
import socket
from datetime import timedelta

import pytest
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from torch.distributed import TCPStore

from dccc_lightning.common import rendezvous
from dccc_lightning.common.ranks import nonzero_ranks, started_by_srun, started_from_outside
from dccc_lightning.config.process_environment import check_started, process_environment
from dccc_lightning.errors import UserError

JOB = {
    "SLURM_JOB_ID": "17", "SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train",
}  # fmt: skip
STEP = {
    **JOB, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1",
    "SLURM_PROCID": "1", "SLURM_LOCALID": "1",
}  # fmt: skip


def chosen(monkeypatch: pytest.MonkeyPatch, variables: dict, devices: int = 2, nodes: int = 1):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check_started(devices * nodes, nodes)
    return process_environment(devices * nodes, nodes)


@pytest.mark.parametrize("name", ["train", "interactive", "bash"])  # salloc: interactive
def test_srun_is_recognised_whatever_the_job_is_called(monkeypatch, name):
    (environment,) = chosen(monkeypatch, STEP | {"SLURM_JOB_NAME": name})
    assert isinstance(environment, SLURMEnvironment)
    assert (environment.global_rank(), environment.world_size()) == (1, 2)
    assert not environment.auto_requeue
    environment.validate_settings(num_devices=2, num_nodes=1)
    assert (started_by_srun(), started_from_outside(), nonzero_ranks()) == (
        2, True, "SLURM_PROCID=1",
    )  # fmt: skip


def test_a_job_without_srun_starts_its_processes_itself(monkeypatch):
    (environment,) = chosen(monkeypatch, JOB)
    assert type(environment) is LightningEnvironment
    assert (started_by_srun(), started_from_outside(), nonzero_ranks()) == (None, False, "")


def test_a_single_task_starts_its_processes_itself(monkeypatch):
    (environment,) = chosen(monkeypatch, STEP | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"})
    assert type(environment) is LightningEnvironment


@pytest.mark.parametrize("variables", [JOB, STEP])
def test_torchrun_within_a_job_comes_first(monkeypatch, variables):
    started = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8"}
    assert chosen(monkeypatch, variables | started, 4, 2) == []
    with pytest.raises(UserError, match="torchrun has started 8 processes"):
        check_started(4, 2)


@pytest.mark.parametrize("node", ["0", "1"])
def test_torchrun_within_srun_numbers_its_processes_itself(monkeypatch, node):
    started = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "SLURM_PROCID": node}
    for name, value in (STEP | started).items():
        monkeypatch.setenv(name, value)
    for rank, expected in (("0", ""), ("1", "RANK=1")):
        monkeypatch.setenv("RANK", rank)
        assert nonzero_ranks() == expected


def test_without_slurm_lightning_chooses(monkeypatch):
    assert chosen(monkeypatch, {}) == []
    assert chosen(monkeypatch, {"NODE_RANK": "1"}, 1, 2) == []


@pytest.mark.parametrize(
    ("variables", "devices", "nodes"),
    [(STEP, 4, 1), (STEP, 1, 1), (STEP, 1, 2), (STEP | {"SLURM_STEP_NUM_NODES": "2"}, 2, 1)],
)
def test_other_numbers_than_those_of_srun_are_refused(monkeypatch, variables, devices, nodes):
    with pytest.raises(UserError, match=r"srun has started 2 processes .*--ntasks-per-node"):
        chosen(monkeypatch, variables, devices, nodes)


@pytest.mark.parametrize("variables", [{}, JOB])
def test_nodes_that_nothing_starts_are_not_waited_for(monkeypatch, variables):
    with pytest.raises(UserError, match=r"trainer\.num_nodes=2: nothing has started"):
        chosen(monkeypatch, variables, 1, 2)


def met(monkeypatch: pytest.MonkeyPatch, rank: int, host: str, port: int) -> tuple[str, int]:
    """Return where the process group of a rank meets."""
    place = {"MASTER_ADDR": host, "MASTER_PORT": str(port), "RANK": str(rank)}
    for name, value in (place | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, value)
    rendezvous.meet()
    assert os.environ["TORCHELASTIC_USE_AGENT_STORE"] == "False"
    return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])


@pytest.mark.parametrize("elsewhere", [False, True])
def test_processes_of_torchrun_meet_at_rank_0_on_any_node(monkeypatch, elsewhere):
    agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    if elsewhere:  # as seen from another node than that of the agent's store
        monkeypatch.setattr(rendezvous, "ip_address", lambda _: Elsewhere)
    place = met(monkeypatch, 0, "localhost", agent.port)
    assert place[0] == ("127.0.0.1" if elsewhere else "localhost")
    assert place[1] not in (0, agent.port)
    assert met(monkeypatch, 1, "localhost", agent.port) == place
    TCPStore(*place, is_master=False).set("key", "value")


class Elsewhere:
    """Stand-in of an address in a network."""

    is_loopback = False


@pytest.mark.parametrize("rank", [0, 1])
def test_a_place_that_cannot_be_reached_is_one_line(monkeypatch, rank):
    monkeypatch.setattr(rendezvous, "PATIENCE", timedelta(seconds=0.1))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nothing listens there
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"did not meet at 127\.0\.0\.1:{port} \(.+\)"):
            met(monkeypatch, rank, "127.0.0.1", port)


def test_a_rank_0_that_is_gone_is_one_line(monkeypatch):
    monkeypatch.setattr(rendezvous, "PATIENCE", timedelta(seconds=0.1))
    agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        agent.set(rendezvous.PLACE, f"{gone.getsockname()[1]} 127.0.0.1")
        with pytest.raises(UserError, match="nothing answers at 127"):
            met(monkeypatch, 1, "127.0.0.1", agent.port)
