import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.common import collectives


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 50), st.integers(1, 9))
def test_shards_cover_every_position_once_in_order(length, processes):
    shards = [collectives.shard(length, rank, processes) for rank in range(processes)]
    assert [position for part in shards for position in part] == list(range(length))
    lengths = [len(part) for part in shards]
    assert max(lengths) - min(lengths) <= 1
    assert lengths == sorted(lengths, reverse=True)


def test_alone_every_collective_is_the_identity():
    rows = torch.arange(6.0).reshape(3, 2)
    assert collectives.world() == (0, 1)
    assert torch.equal(collectives.gather_shards(rows, 3), rows)
    assert torch.equal(collectives.gather_parts(rows[None]), rows)
    assert collectives.broadcast(rows) is rows
    assert torch.equal(collectives.mean(rows), rows)


def check(rank, processes, rendezvous):
    dist.init_process_group(
        "gloo", init_method=rendezvous, rank=rank, world_size=processes,
        timeout=timedelta(seconds=200),
    )  # fmt: skip
    try:
        assert collectives.world() == (rank, processes)
        for length in (0, 1, 2, 5, 6):
            for dtype in (torch.float32, torch.int64, torch.bool):
                rows = (torch.arange(length * 3).reshape(length, 3) % 7).to(dtype)
                shard = collectives.shard(length, rank, processes)
                local = rows[shard.start : shard.stop]
                assert torch.equal(collectives.gather_shards(local, length), rows), length
        labels = torch.arange(7)
        local = labels[list(collectives.shard(7, rank, processes))]
        assert torch.equal(collectives.gather_shards(local, 7), labels)

        block = torch.full((4, 2), float(rank))
        strided = block.t().contiguous().t()  # as a transposed tensor is
        expected = torch.arange(processes).repeat_interleave(4)[:, None].expand(-1, 2).float()
        assert torch.equal(collectives.gather_parts(strided[None]), expected)

        # Two parts, one after the other in time: part, then rank, then row.
        parts = torch.tensor([[10 + 2 * rank, 11 + 2 * rank], [20 + 2 * rank, 21 + 2 * rank]])
        together = [part * 10 + row for part in (1, 2) for row in range(2 * processes)]
        assert collectives.gather_parts(parts).tolist() == together

        value = torch.tensor([10.0 + rank, 1.0])
        assert collectives.broadcast(value) is value
        assert value.tolist() == [10.0, 1.0]

        own = torch.tensor([float(rank), 2.0])
        assert collectives.mean(own).tolist() == [(processes - 1) / 2, 2.0]
        assert own.tolist() == [rank, 2.0]  # left as it was

        written = Path(f"{rendezvous.removeprefix('file://')}.written")
        if rank == 0:
            time.sleep(0.5)
            written.touch()
        collectives.await_first()
        assert written.exists()
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize("processes", [2])
def test_collectives_of_several_processes(tmp_path, processes):
    mp.spawn(check, (processes, f"file://{tmp_path}/rendezvous"), nprocs=processes)
