"""Products in full precision leave torch's setting as it was, in threads too."""

import threading

import torch

from dccc_lightning.common.tensors import full_precision


def test_threads_that_overlap_restore_the_precision() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    inside, first_has_left = threading.Event(), threading.Event()

    def second() -> None:
        with full_precision():
            inside.set()
            first_has_left.wait()

    thread = threading.Thread(target=second)
    try:
        with full_precision():
            thread.start()
            inside.wait()
        assert torch.get_float32_matmul_precision() == "highest"  # the second still multiplies
        first_has_left.set()
        thread.join()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
