import os
import subprocess
import sys
from types import SimpleNamespace

import numba
import pytest

from dccc_lightning.common import compiled


def double(x):
    return 2 * x


@pytest.mark.parametrize("decorate", [compiled.compiled, compiled.parallel, compiled.reduction])
def test_kernels_compile_where_no_cache_can_be_written(monkeypatch, decorate):
    asked = []

    def without_cache(**options):
        asked.append(options.get("cache", False))
        if asked[-1]:
            raise RuntimeError("cannot cache function 'double': no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(compiled, "numba", SimpleNamespace(njit=without_cache))
    monkeypatch.setattr(numba.config, "DISABLE_PERFORMANCE_WARNINGS", 1)  # nothing to run parallel
    assert decorate(double)(21) == 42
    assert asked == [True, False]


THREADS = """
import numba, numpy as np, torch
from dccc_lightning.common.compiled import parallel

@parallel
def fill(row):
    for i in numba.prange(row.size):
        row[i] = 1.0

row = np.zeros(64)
fill(row)
print(int(row.sum()), torch.get_num_threads())
"""


def test_a_parallel_kernel_leaves_torch_its_threads(tmp_path):
    """Numba starts its threads once a process, so it takes a fresh one to see it."""
    script = tmp_path / "threads.py"
    script.write_text(THREADS)
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, script],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | threads,
    )
    assert done.stdout.split() == ["64", "1"], done.stderr
