"""Random numbers: the same on every machine, different for every seed and stream."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcall_hw.random_bits import MAX_SEED, generator, permutation, raw_bits, standard_normal_256, uniform

# Pinned on purpose: saved networks and emulated chips depend on these numbers. A change here breaks other people's seeds.
PINNED_BITS = {
    (0, "a"): [0x6E3395A092B6734C, 0xC5EAF32764FE16D9, 0x172B21FFD4D97A53],
    (1, "a"): [0x1B3F7911C8B253C9, 0x605A74EF28F325A7, 0x30B59BEB81725C78],
    (0, "b"): [0x4EBD4FEF43240CEF, 0x02868E36B0232617],
    (MAX_SEED, "fan-in/x"): [0x44B3CF21AE78232D, 0x5D6220DD7328609F],
}


@pytest.mark.parametrize(("seed", "stream"), PINNED_BITS)
def test_bits_are_the_pinned_ones(seed: int, stream: str) -> None:
    wanted = PINNED_BITS[seed, stream]
    assert raw_bits(seed, stream, len(wanted)).tolist() == wanted


def test_derived_numbers_are_the_pinned_ones() -> None:
    wanted = ["0x1.1bfd7dbb57740p-6", "0x1.92517e2d638a4p-3", "0x1.cf3b62047a8b0p-4"]
    assert [value.hex() for value in uniform(7, "u", 3).tolist()] == wanted
    assert permutation(7, "p", 8).tolist() == [7, 0, 3, 5, 1, 4, 2, 6]
    assert standard_normal_256(7, "n", 6).tolist() == [201, 66, 161, -287, 160, 411]


def test_streams_differ_by_seed_and_by_name() -> None:
    keys = [(seed, name) for seed in (0, 1, 2, 12, MAX_SEED) for name in ("", "a", "b", "ab", "/a", "2/a", "a/")]
    words = [tuple(raw_bits(seed, name, 4).tolist()) for seed, name in keys]
    assert len(set(words)) == len(keys)
    assert len({word for four in words for word in four}) == 4 * len(keys)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, MAX_SEED), stream=st.text(max_size=20), first=st.integers(0, 40), more=st.integers(0, 40))
def test_a_stream_is_stable_and_a_longer_draw_begins_with_the_shorter(seed: int, stream: str, first: int, more: int) -> None:
    long = raw_bits(seed, stream, first + more)
    assert long.dtype == np.uint64
    assert raw_bits(seed, stream, first).tolist() == long[:first].tolist()
    source = generator(seed, stream)
    assert source.random_raw(first).tolist() + source.random_raw(more).tolist() == long.tolist()


def test_uniform_is_the_upper_53_bits_in_the_half_open_unit_interval() -> None:
    values = uniform(5, "u", 40_000)
    assert values.tolist() == [(int(word) >> 11) / 2**53 for word in raw_bits(5, "u", 40_000)]
    assert 0.0 <= values.min() < values.max() < 1.0
    assert values.mean() == pytest.approx(0.5, abs=5 * np.sqrt(1 / 12 / values.size))
    counts = np.bincount((values * 16).astype(int), minlength=16)
    assert np.sum((counts - 2500) ** 2 / 2500) < 45  # chi squared with 15 degrees of freedom: p about 1e-4


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, MAX_SEED), count=st.integers(0, 300))
def test_permutation_holds_every_number_once(seed: int, count: int) -> None:
    found = permutation(seed, "p", count)
    assert found.dtype == np.int64
    assert sorted(found.tolist()) == list(range(count))


def test_permutations_differ_by_seed_and_are_not_biased_in_their_first_place() -> None:
    assert len({tuple(permutation(seed, "p", 20).tolist()) for seed in range(50)}) == 50
    firsts = np.bincount([permutation(seed, "first", 4)[0] for seed in range(2000)], minlength=4)
    assert np.sum((firsts - 500) ** 2 / 500) < 22  # chi squared with 3 degrees of freedom: p about 1e-4


def test_normal_numbers_have_the_moments_of_a_normal_with_sd_256() -> None:
    count = 200_000
    values = standard_normal_256(3, "n", count)
    assert values.dtype == np.int64
    assert values.shape == (count,)
    assert values.mean() == pytest.approx(0.0, abs=5 * 256 / np.sqrt(count))
    assert values.std() == pytest.approx(256.0, rel=5 / np.sqrt(2 * count))
    scaled = values / 256
    assert np.mean(scaled**3) == pytest.approx(0.0, abs=5 * np.sqrt(15 / count))
    assert np.mean(scaled**4) == pytest.approx(3 - 0.1, abs=0.06)  # a sum of twelve uniforms has excess kurtosis -0.1
    assert np.abs(values).max() <= 6 * 256
    for sigmas, share in ((1, 0.683), (2, 0.954)):
        assert np.mean(np.abs(scaled) <= sigmas) == pytest.approx(share, abs=0.008)


def test_normal_numbers_are_the_sum_of_twelve_16_bit_uniforms() -> None:
    count = 50
    words = raw_bits(9, "n", 3 * count).tolist()
    for k, found in enumerate(standard_normal_256(9, "n", count).tolist()):
        parts = [(word >> shift) & 0xFFFF for word in words[3 * k : 3 * k + 3] for shift in (0, 16, 32, 48)]
        assert abs(found - (sum(parts) - 12 * 32767.5) / 256) <= 0.5


@pytest.mark.parametrize("draw", [raw_bits, uniform, permutation, standard_normal_256])
def test_nothing_can_be_drawn(draw) -> None:  # type: ignore[no-untyped-def]
    assert draw(0, "none", 0).tolist() == []
