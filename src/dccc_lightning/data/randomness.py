"""Counter-based random numbers, independent of batch composition, device and workers.

The key of a sample (index, epoch, step, slot) and a counter are hashed with the finaliser of
SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

from functools import cache

import torch

GOLDEN = -0x61C8864680B583EB
"""2^64 / golden ratio, the increment of SplitMix64, as a signed integer."""

# The multipliers of the finaliser (Stafford's variant 13), as signed integers.
FIRST = -0x40A7B892E31B1A47
SECOND = -0x6B2FB644ECCEEE15


def shift_right(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift int64 words as if they were unsigned (torch's shift keeps the sign)."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def mix(words: torch.Tensor) -> torch.Tensor:
    """Hash int64 words by SplitMix64's finaliser, a bijection; products wrap around."""
    words = (words ^ shift_right(words, 30)) * FIRST
    words = (words ^ shift_right(words, 27)) * SECOND
    return words ^ shift_right(words, 31)


def signed(number: int) -> int:
    """Return the lowest 64 bits of ``number`` as a signed integer."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


@cache
def stream_state(seed: int, stream: int) -> int:
    """Return the state that seed and stream lead to, from which the keys go on."""
    state = torch.zeros((), dtype=torch.int64, device="cpu")
    for word in (signed(seed), signed(stream)):
        state = mix((state ^ word) + GOLDEN)
    return int(state)


def uniforms(seed: int, keys: torch.Tensor, stream: int, count: int) -> torch.Tensor:
    """Draw uniform numbers for each key.

    Args:
        seed: Seed of the run.
        keys: (B, m) int64, one key per row; a row's numbers do not depend on the other rows.
        stream: Number that separates uses of a key, such as the views of an image.
        count: Numbers per row; a larger count continues the same sequence.

    Returns:
        (B, count) float64 in [0, 1), multiples of 2^-53, on the device of ``keys``; equal on all
        devices.

    >>> keys = torch.tensor([[7, 0], [8, 0]])
    >>> torch.equal(uniforms(1, keys, 0, 3)[1:], uniforms(1, keys[1:], 0, 3))
    True
    """
    state = torch.full_like(keys[:, 0], stream_state(seed, stream))
    for word in keys.unbind(dim=1):
        state = mix((state ^ word) + GOLDEN)
    counters = torch.arange(1, count + 1, dtype=torch.int64, device=keys.device)
    numbers = mix(state[:, None] + counters * GOLDEN)
    return shift_right(numbers, 11).double() * 2.0**-53
