"""Quantisation of weights: its errors by an independent computation, its step by an exhaustive one."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from bcall_hw.errors import FanInExceeded
from bcall_hw.nir_import import quantise as module
from bcall_hw.nir_import.quantise import quantise

RANDOM = np.random.default_rng(5)


@pytest.mark.parametrize("levels", [1, 2, 5])
@pytest.mark.parametrize("room", [64, 20])
def test_reported_errors_are_those_of_the_weights(levels: int, room: int) -> None:
    weights = RANDOM.normal(size=(12, 30)) * (RANDOM.random((12, 30)) < 0.5)
    found = quantise(weights, levels, room, "layer")
    m = found.multiplicity
    rebuilt = np.array([[k * (found.excitatory_step if k > 0 else found.inhibitory_step) for k in row] for row in m.tolist()])
    assert (found.weights == rebuilt).all()
    assert found.relative_rms == pytest.approx(np.linalg.norm(weights - rebuilt) / np.linalg.norm(weights))
    assert found.largest_error == pytest.approx(max(abs(a - b) for a, b in zip(weights.ravel(), rebuilt.ravel(), strict=True)))
    assert found.zeroed == sum(1 for w, k in zip(weights.ravel(), m.ravel(), strict=True) if w and not k)
    beyond = [w / (found.excitatory_step if w > 0 else -found.inhibitory_step) for w in weights.ravel() if w]
    assert found.saturated == sum(1 for size in beyond if size > levels + 0.5)
    assert found.entries.tolist() == [sum(abs(k) for k in row) for row in m.tolist()]
    assert found.entries.max() <= room
    assert np.abs(m).max() <= levels
    assert ((m == 0) | (np.sign(m) == np.sign(weights))).all()


@pytest.mark.parametrize("levels", [2, 4])
def test_no_step_of_a_fine_scan_is_better(levels: int) -> None:
    weights = RANDOM.normal(size=(6, 20))
    found = quantise(weights, levels, 30, "layer")
    for step in np.linspace(0.05, 6.0, 3000):
        m = np.clip(np.rint(weights / step), -levels, levels)
        if np.abs(m).sum(axis=1).max() <= 30 and m.any():
            fitted = np.zeros_like(weights)
            for part in (m > 0, m < 0):
                if part.any():
                    fitted[part] = (weights[part] @ m[part]) / (m[part] @ m[part]) * m[part]
            error = np.linalg.norm(weights - fitted) / np.linalg.norm(weights)
            assert found.relative_rms <= error * 1.01 + 1e-12


def test_weights_on_a_grid_come_back_exactly() -> None:
    m = RANDOM.integers(-3, 4, (8, 12))
    m[0, :2] = 3, -3
    found = quantise(np.where(m > 0, 0.37, 0.11) * m, 3, 64, "layer")
    assert quantise(0.37 * m, 3, 64, "layer").multiplicity.tolist() == m.tolist()
    assert quantise(0.37 * m, 3, 64, "layer").relative_rms == pytest.approx(0.0, abs=1e-12)
    assert found.relative_rms < 1e-6
    assert (found.multiplicity == m).all()
    assert (found.excitatory_step, found.inhibitory_step) == pytest.approx((0.37, 0.11))


def test_of_equal_errors_the_fewest_entries_are_taken() -> None:
    found = quantise(np.array([[0.5, 0.5, -1.0, -2.0]]), 4, 64, "layer")
    assert found.multiplicity.tolist() == [[1, 1, -1, -2]]


def test_fan_in_makes_the_step_coarser_and_names_the_neuron() -> None:
    weights = np.full((3, 40), 0.1)
    weights[:, :10] = 1.0
    weights[2, 10:] = 0.0
    free, tight = quantise(weights, 10, 1000, "layer"), quantise(weights, 10, 64, "layer")
    assert free.limited_by is None
    assert tight.limited_by in (0, 1)
    assert tight.relative_rms > free.relative_rms
    assert tight.entries.max() <= 64


def test_a_neuron_that_no_step_fits_is_refused() -> None:
    weights = np.ones((3, 10))
    weights[1, :] = 0.0
    with pytest.raises(FanInExceeded, match="layer 'x' neuron 0") as caught:
        quantise(weights, 3, 9, "x")
    assert (caught.value.used, caught.value.limit) == (10, 9)


def test_a_large_layer_is_searched_without_keeping_its_candidates() -> None:
    """A few copies of the weights at most, where one for each of the 300 steps would be 100 MB and more."""
    weights = RANDOM.normal(size=(300, 150))
    tracemalloc.start()
    try:
        found = quantise(weights, 4, 64, "layer")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.entries.max() <= 64
    assert peak < 20 * weights.nbytes


def test_what_cannot_fit_is_refused_before_any_search(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    inner = module._tallies
    monkeypatch.setattr(module, "_tallies", lambda w, levels, steps: tried.append(len(steps)) or inner(w, levels, steps))
    with pytest.raises(FanInExceeded, match="layer 'x' neuron 1"):
        quantise(np.outer([0.5, 1.0], np.ones(65)), 4, 64, "x")
    assert tried == [1]


def test_rows_in_blocks_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = RANDOM.normal(size=(23, 50))
    whole = quantise(weights, 3, 40, "layer")
    monkeypatch.setattr(module, "_BLOCK", 200)
    cut = quantise(weights, 3, 40, "layer")
    assert (cut.multiplicity == whole.multiplicity).all()
    assert (cut.tried, cut.relative_rms, cut.limited_by) == (whole.tried, whole.relative_rms, whole.limited_by)


def test_no_weight_at_all_is_no_entry() -> None:
    found = quantise(np.zeros((2, 3)), 3, 64, "layer")
    assert found.entries.tolist() == [0, 0]
    assert quantise(np.zeros((2, 0)), 3, 64, "layer").multiplicity.shape == (2, 0)
