"""How long idle threads wait, and when that is left alone."""

import pytest

from dccc_lightning.common import waiting_threads


def test_threads_sleep_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(waiting_threads.os, "environ", environment)
    assert waiting_threads.sleep_when_idle()
    assert 0 < int(environment["GOMP_SPINCOUNT"]) < 300_000  # libgomp's default
    assert 4 <= int(environment["OPENBLAS_THREAD_TIMEOUT"]) < 26  # OpenBLAS's least and default


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT"])
def test_settings_of_the_user_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {name: "ACTIVE"}
    monkeypatch.setattr(waiting_threads.os, "environ", environment)
    assert not waiting_threads.sleep_when_idle()
    assert environment == {name: "ACTIVE"}
