from types import SimpleNamespace

import numba
import pytest

from dccc_lightning.clustering import compiled


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
