"""Presets of the rule against the table they come from, and what parameters refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bcall_hw.errors import InvalidValue, UnknownName
from bcall_hw.rule.parameters import PRESETS, Bistability, RuleParameters, StopLearning, preset

NAMES = ("D", "1.X1", "2.0", "3.0", "4.0")
# Rows of the published table, in its own units: ms, dimensionless, tau_w in s.
TABLE: dict[str, tuple[float, ...]] = {
    "tau_i": (30, 30, 20, 25, 50),
    "tau_j": (45, 45, 35, 35, 50),
    "a_i": (0.4, 0.4, 0.4, 0.4, 0.5),
    "a_j": (0.5, 0.5, 0.5, 0.5, 1),
    "theta_i": (0.30, 0.15, 0.25, 0.10, 0.30),
    "theta_j": (0.30, 0.33, 0.33, 0.33, 0.50),
    "c_p": (0.02, 0.06, 0.1, 0.2, 0.1),
    "c_d1": (-0.005, -0.021, -0.021, -0.021, -0.05),
    "c_d2": (-0.002, -0.002, -0.002, -0.002, -0.05),
    "tau_w": (350, 40, 20, 20, 1),
}
SLOW: dict[str, tuple[float, float, float, float] | None] = {
    "D": (450, 0.06, 0.2, 0.7),
    "1.X1": (600, 0.03, 0.1, 0.59),
    "2.0": (600, 0.03, 0.1, 0.59),
    "3.0": None,
    "4.0": None,
}
GOOD: dict[str, Any] = {
    "tau_i_s": 0.03, "tau_j_s": 0.045, "a_i": 0.4, "a_j": 0.5, "theta_i": 0.3, "theta_j": 0.3,
    "c_p": 0.02, "c_d1": -0.005, "c_d2": -0.002, "source": "a test",
}  # fmt: skip
GOOD_STOP: dict[str, Any] = {"tau_s": 0.45, "a": 0.06, "theta_lo": 0.2, "theta_hi": 0.7}
NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize("name", NAMES)
def test_preset_equals_its_column_of_the_table(name: str) -> None:
    found, column = preset(name), {row: values[NAMES.index(name)] for row, values in TABLE.items()}
    assert found.bistability is not None
    assert found.tau_i_s * 1e3 == pytest.approx(column["tau_i"], rel=1e-12)
    assert found.tau_j_s * 1e3 == pytest.approx(column["tau_j"], rel=1e-12)
    assert found.bistability.tau_w_s == column["tau_w"]
    assert (found.bistability.alpha, found.bistability.beta) == (1.0, 1.0)
    for row in ("a_i", "a_j", "theta_i", "theta_j", "c_p", "c_d1", "c_d2"):
        assert getattr(found, row) == column[row], row
    assert found.theta_w == 0.5
    assert found.gate_silent_pre is False
    assert found.source


@pytest.mark.parametrize("name", NAMES)
def test_stop_learning_of_a_preset_equals_the_table(name: str) -> None:
    found, wanted = preset(name).stop_learning, SLOW[name]
    if wanted is None:
        assert found is None
        return
    assert found is not None
    assert (found.tau_s * 1e3, found.a, found.theta_lo, found.theta_hi) == pytest.approx(wanted, rel=1e-12)


def test_there_are_exactly_the_presets_of_the_table() -> None:
    assert tuple(PRESETS) == NAMES


@pytest.mark.parametrize("name", ["d", "", "1", "2", "E"])
def test_unknown_preset_is_refused_and_the_known_ones_are_named(name: str) -> None:
    with pytest.raises(UnknownName) as caught:
        preset(name)
    assert all(known in str(caught.value) for known in NAMES)
    assert caught.value.used == name


def test_the_values_these_tests_vary_are_accepted() -> None:
    assert RuleParameters(**GOOD).theta_w == 0.5
    assert StopLearning(**GOOD_STOP).a == 0.06


@pytest.mark.parametrize("bad", [NAN, INFINITY, -INFINITY, "fast", None])
@pytest.mark.parametrize("field", [name for name in GOOD if name != "source"])
def test_every_number_refuses_what_is_no_finite_number(field: str, bad: Any) -> None:
    with pytest.raises(InvalidValue, match=field):
        RuleParameters(**GOOD | {field: bad})


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("tau_i_s", -0.03), ("tau_i_s", 0.0), ("tau_j_s", -1e-9), ("tau_j_s", 0.0),
        ("a_i", 1.0000001), ("a_i", 0.0), ("a_i", -0.4), ("a_j", 2.0), ("a_j", 0.0),
        ("theta_i", -0.01), ("theta_i", 1.01), ("theta_j", -0.01), ("theta_j", 1.01),
        ("theta_w", -0.01), ("theta_w", 1.01), ("theta_w", NAN),
        ("c_p", -0.02), ("c_d1", 0.005), ("c_d1", 1e-300), ("c_d2", 0.002),
        ("gate_silent_pre", "perhaps"), ("tau_k_s", 1.0),
    ],
)  # fmt: skip
def test_parameters_refuse_and_name_the_field(field: str, bad: Any) -> None:
    with pytest.raises(InvalidValue, match=field):
        RuleParameters(**GOOD | {field: bad})


@pytest.mark.parametrize("missing", list(GOOD))
def test_a_missing_parameter_is_named(missing: str) -> None:
    with pytest.raises(InvalidValue, match=missing):
        RuleParameters(**{name: value for name, value in GOOD.items() if name != missing})


@pytest.mark.parametrize("edge", [{"a_i": 1.0, "a_j": 1.0}, {"theta_i": 0.0, "theta_j": 1.0}, {"c_p": 0, "c_d1": 0, "c_d2": 0}])
def test_the_edges_themselves_are_allowed(edge: dict[str, float]) -> None:
    found = RuleParameters(**GOOD | edge)
    assert all(getattr(found, name) == value for name, value in edge.items())


@pytest.mark.parametrize(("lo", "hi"), [(0.7, 0.2), (0.5, 0.5), (1.0, 0.0)])
def test_stop_learning_window_must_be_open(lo: float, hi: float) -> None:
    with pytest.raises(InvalidValue, match="theta_lo"):
        StopLearning(**GOOD_STOP | {"theta_lo": lo, "theta_hi": hi})
    with pytest.raises(InvalidValue, match="theta_lo"):
        RuleParameters(**GOOD, stop_learning=GOOD_STOP | {"theta_lo": lo, "theta_hi": hi})


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("tau_s", -0.45), ("tau_s", 0.0), ("tau_s", NAN), ("tau_s", INFINITY), ("a", 1.01), ("a", 0.0), ("a", NAN),
        ("theta_lo", -0.1), ("theta_lo", NAN), ("theta_hi", 1.1), ("theta_hi", NAN),
    ],
)  # fmt: skip
def test_stop_learning_refuses_and_names_the_field(field: str, bad: float) -> None:
    with pytest.raises(InvalidValue, match=field):
        StopLearning(**GOOD_STOP | {field: bad})


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("tau_w_s", 0.0),
        ("tau_w_s", -1.0),
        ("tau_w_s", NAN),
        ("alpha", -1.0),
        ("alpha", NAN),
        ("beta", -1.0),
        ("beta", INFINITY),
    ],
)
def test_bistability_refuses_and_names_the_field(field: str, bad: float) -> None:
    with pytest.raises(InvalidValue, match=field):
        Bistability(**{"tau_w_s": 1.0} | {field: bad})


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        PRESETS["D"].a_i = 0.1  # type: ignore[misc]
    assert PRESETS["D"].a_i == 0.4
