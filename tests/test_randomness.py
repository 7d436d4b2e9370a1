"""Counter-based random numbers: exactly SplitMix64, uniform, and apart."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dccc_lightning.data.randomness import uniforms

ALPHA = 1e-5  # of the statistical tests; the draws are fixed, so they pass always or never


def keys_of(number, columns=2, start=0):
    """Keys as training has them: neighbouring integers."""
    return torch.stack([torch.arange(start, start + number) + c for c in range(columns)], dim=1)


def plain_uniform(seed, words, count):
    """SplitMix64 with Python's integers: absorb the words, then count on."""
    mask = (1 << 64) - 1

    def mix(word):
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        return word ^ (word >> 31)

    golden, state = 0x9E3779B97F4A7C15, 0
    for word in (seed, *words):
        state = mix(((state ^ (word & mask)) + golden) & mask)
    return [(mix((state + i * golden) & mask) >> 11) / 2**53 for i in range(1, count + 1)]


wide = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None, max_examples=40)
@given(wide, st.lists(st.tuples(wide, wide), min_size=1, max_size=4), st.integers(0, 9))
def test_uniforms_are_splitmix64(seed, keys, stream):
    drawn = uniforms(seed, torch.tensor(keys), stream, 5)
    assert drawn.dtype == torch.float64
    assert drawn.tolist() == [plain_uniform(seed, (stream, *key), 5) for key in keys]


def test_uniforms_are_uniform():
    numbers = uniforms(3, keys_of(20_000), 0, 10)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    for column in numbers.T:
        observed = torch.histc(column, 100, 0, 1)
        assert stats.chisquare(observed.numpy()).pvalue > ALPHA
    # Runs over the whole sequence and its low bits too.
    low_bits = (numbers * 2**40) % 1
    assert stats.kstest(low_bits.flatten().numpy(), "uniform").pvalue > ALPHA


def test_uniforms_are_not_correlated():
    number = 50_000
    base = uniforms(0, keys_of(number), 0, 3)
    others = {
        "counter": base[:, 1],
        "stream": uniforms(0, keys_of(number), 1, 1)[:, 0],
        "seed": uniforms(1, keys_of(number), 0, 1)[:, 0],
        "next key": uniforms(0, keys_of(number, start=1), 0, 1)[:, 0],
        "swapped columns": uniforms(0, keys_of(number).flip(1), 0, 1)[:, 0],
    }
    for name, other in others.items():
        correlation = torch.corrcoef(torch.stack([base[:, 0], other]))[0, 1]
        assert abs(correlation) < 4.5 / math.sqrt(number), name
        assert (base[:, 0] == other).sum() == 0, name


def test_a_row_does_not_depend_on_its_neighbours():
    keys = keys_of(50, columns=4)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    numbers = uniforms(9, keys, 2, 7)
    assert torch.equal(uniforms(9, keys[order], 2, 7), numbers[order])
    assert torch.equal(uniforms(9, keys[3:4], 2, 4), numbers[3:4, :4])
    assert uniforms(9, keys[:0], 2, 7).shape == (0, 7)
