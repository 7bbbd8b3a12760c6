"""What a calibration record says of a virtual board, against what the board's profile says.

The equations are those of docs/emulator_specification.md, "From registers to parameters", written here anew; of the
calibration's own code only the membrane's integral is used, for rates. The weight of an
event is that of the neuron's mean working CAM entry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bcall_hw import circuits
from bcall_hw.arrays import BoolArray, FloatArray
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibrate.membrane import rise_time_s, spike_potential
from bcall_hw.chip_model import ChipModel

#: Largest relative error of a core's median that counts as reached.
WITHIN = 0.03
#: Decades of the bias current (A); what lies below or above has bins of its own.
DECADES_A = (1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6)
DECADE_NAMES = (
    "below 10 pA", "10 to 100 pA", "0.1 to 1 nA", "1 to 10 nA", "10 to 100 nA", "0.1 to 1 uA", "above 1 uA",
)  # fmt: skip
BASE_COPIES = (4, 8)
#: Share of a core's neurons that is kept for the rates; rise (s) of the median neuron under their current.
KEPT, RISE_S = 0.75, 0.02
_CIRCUITS = {"adaptation": "AHP"}


class Truth:
    """The true values of one board."""

    def __init__(self, chip: ChipModel, profile: BoardProfile) -> None:
        self.chip, self.profile = chip, profile
        self.factor = profile.factors(chip)
        self.farads = profile.capacitances_f(chip)
        g = chip.geometry
        entries = profile.entry_factors(chip)
        self.entries = np.ones((g.chips, g.cores, g.neurons, chip.cam.entries)) if entries is None else entries.copy()
        self.works = np.ones(self.entries.shape, dtype=bool)
        for place in profile.dead_cam:
            self.works[place] = False
        self.alive = np.ones((g.chips, g.cores, g.neurons), dtype=bool)
        for dead in profile.dead_neurons:
            self.alive[dead] = False
        self.odd = {(*place, quantity) for *place, quantity, _ in profile.odd_currents}

    def defect(self, chip_id: int, core: int, neuron: int) -> str:
        """Dead, hot, silent or ok."""
        if not self.alive[chip_id, core, neuron]:
            return "dead"
        if (chip_id, core, neuron, "dc") in self.odd:
            return "hot"
        return "silent" if (chip_id, core, neuron, "leak1") in self.odd else "ok"

    def currents_a(self, codes: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
        """Nominal currents of codes by role (A)."""
        table, dark = self.chip.current_a, self.chip.current_table.dark_current_a
        roles = {name: self.chip.biases[self.chip.bias_index(name)].role for name in codes}
        return {roles[name]: max(float(table[c["coarse"], c["fine"]]), dark) for name, c in codes.items()}

    def main_current_a(self, quantity: str, codes: Mapping[str, Mapping[str, int]]) -> float | None:
        """Current of the bias that sets a quantity (A); None without codes."""
        return self.currents_a(codes).get(_role(quantity))

    def values(self, chip_id: int, core: int, quantity: str, codes: Mapping[str, Mapping[str, int]]) -> FloatArray | None:
        """A quantity of every neuron of a core under codes, in its SI unit; None where they do not hold what it needs."""
        current = self.currents_a(codes)
        try:
            return self._values(chip_id, core, quantity, current)
        except KeyError:
            return None

    def _values(self, chip_id: int, core: int, quantity: str, current: Mapping[str, float]) -> FloatArray:
        def a(role: str) -> FloatArray:
            return np.asarray(current[role] * self.factor[role][chip_id, core])

        if quantity in ("tau_s", "tau2_s"):
            return self._tau_charge_c("soma") / a(_role(quantity))
        if quantity in ("refractory_s", "pulse_width_s"):
            circuit = quantity.split("_")[0]
            return circuits.switching_charge_c(self.chip, float(getattr(self.farads, circuit))) / a(_role(quantity))
        if quantity == "dc_a":
            return a("dc")
        name, _, part = quantity.partition(".")
        role = "ahp" if name == "adaptation" else name
        tau = self._tau_charge_c(_CIRCUITS.get(name, name)) / a(f"{role}_tau")
        if part == "tau_s":
            return tau
        width = self._values(chip_id, core, "pulse_width_s", current)
        full = np.maximum(current[f"{role}_gain"] * (a(f"{role}_weight") / a(f"{role}_tau") - 1.0), 0.0)
        weight = full * -np.expm1(-width / tau)
        if name == "adaptation":
            return np.asarray(weight)
        works = self.works[chip_id, core]
        added = np.where(works, self.entries[chip_id, core], 0.0)
        return np.asarray(weight * added.sum(axis=1) / works.sum(axis=1))

    def _tau_charge_c(self, circuit: str) -> float:
        return circuits.thermal_charge_c(self.chip, float(getattr(self.farads, circuit)))

    def rates_hz(
        self, chip_id: int, core: int, codes: Mapping[str, Mapping[str, int]], gains: Mapping[str, FloatArray] | None = None
    ) -> FloatArray:
        """Rate of every neuron under the constant current that makes the nominal neuron rise in `RISE_S`, leak included.

        Args:
            codes: of leak, refractory period and constant current.
            gains: by quantity; the prediction from a record. The truth if absent.
        """
        current, charge = self.currents_a(codes), self._tau_charge_c("soma")
        drive = charge * float(spike_potential(self.chip)) / RISE_S + current["leak1"]
        switching = circuits.switching_charge_c(self.chip, float(self.farads.refractory)) / current["refractory"]
        if gains is None:
            of = {name: self.factor[name][chip_id, core] for name in ("dc", "leak1", "refractory", "spike_threshold")}
            drives, leaks = drive * of["dc"] / np.median(of["dc"]), current["leak1"] * of["leak1"]
            dead, threshold = switching / of["refractory"], of["spike_threshold"]
        else:
            ones = np.ones(self.chip.geometry.neurons)
            drives, leaks = drive * gains.get("dc_a", ones), current["leak1"] / gains.get("tau_s", ones)
            dead, threshold = switching * gains.get("refractory_s", ones), ones
        rise = rise_time_s(self.chip, charge, drives, leaks, np.full(threshold.shape, math.inf), threshold)
        return np.asarray(1.0 / (rise + dead))


def _role(quantity: str) -> str:
    simple = {"tau_s": "leak1", "tau2_s": "leak2", "refractory_s": "refractory", "pulse_width_s": "pulse_width", "dc_a": "dc"}
    if quantity in simple:
        return simple[quantity]
    name, _, part = quantity.partition(".")
    return f"{'ahp' if name == 'adaptation' else name}_{part.rsplit('_', 1)[0]}"


def decade_of(current_a: float | None) -> str:
    """The bin of a bias current."""
    return "no code" if current_a is None else DECADE_NAMES[int(np.searchsorted(DECADES_A, current_a, side="right"))]


# One board ------------------------------------------------------------------------------------------------------------


def judged(truth: Truth, found: Mapping[str, Any]) -> dict[str, Any]:
    """One calibrated board (`calibrated_board`) against the truth: plain values, for `benchmarks.calibration`."""
    record, cores = found["record"], [_core_row(truth, m) for m in found["measured"]]
    rows: dict[str, Any] = {"seed": found["seed"], "ok": found["ok"], "board_s": found["board_s"], "cores": cores}
    if record is None:
        return rows | {"weights": [], "rates": [], "gains": {}, "neurons": {}, "cam": {}}
    of_core: dict[tuple[int, int], dict[str, Any]] = {}
    for m in found["measured"]:
        of_core.setdefault((m["chip"], m["core"]), {})[m["quantity"]] = m
    gains: dict[tuple[int, int], dict[str, Any]] = {}
    for g in record["gains"]:
        gains.setdefault((g["chip"], g["core"]), {})[g["quantity"]] = g
    listed = {(d[0], d[1], d[2]): "dead" for d in record["dead_neurons"]}
    listed |= {(e["chip"], e["core"], e["neuron"]): e["reason"] for e in record["excluded"]}
    parts: dict[str, Any] = {"weights": [], "rates": [], "gains": {}}
    parts["neurons"] = _neurons(truth, list(of_core), listed)
    parts["cam"] = _cam(truth, list(of_core), record)
    for core, measured in of_core.items():
        used = truth.alive[core].copy()
        for place in listed:
            if place[:2] == core:
                used[place[2]] = False
        mine = gains.get(core, {})
        parts["weights"] += _weights(truth, core, measured, mine, used, record)
        parts["rates"] += _rates(truth, core, measured, mine, used)
        for quantity, gain in mine.items():
            _count(parts["gains"], quantity, _coverage(truth, core, quantity, measured, gain))
    return rows | parts


def _count(counts: dict[str, tuple[int, int]], name: str, more: tuple[int, int]) -> None:
    before = counts.get(name, (0, 0))
    counts[name] = (before[0] + more[0], before[1] + more[1])


def _core_row(truth: Truth, m: Mapping[str, Any]) -> dict[str, Any]:
    values = truth.values(m["chip"], m["core"], m["quantity"], m["codes"])
    median = None if values is None else float(np.median(values[truth.alive[m["chip"], m["core"]]]))
    error = None if median is None else median / m["target"] - 1.0
    current = truth.main_current_a(m["quantity"], m["codes"])
    inside = None
    if m["interval"] is not None and median is not None:
        inside = m["interval"][0] <= median <= m["interval"][1]
    return {
        "chip": m["chip"], "core": m["core"], "quantity": m["quantity"], "current_a": current, "decade": decade_of(current),
        "error": error, "within": error is not None and abs(error) <= WITHIN, "ok": m["ok"], "reason": m["reason"],
        "covered": inside,
    }  # fmt: skip


def _gain(gain: Mapping[str, Any] | None, neurons: int) -> FloatArray:
    """Gains as the mapper takes them: 1 where none is known."""
    return np.ones(neurons) if gain is None else np.array([1.0 if v is None else v for v in gain["gain"]])


def _cv(values: FloatArray) -> float:
    return float(values.std() / values.mean())


def _weights(
    truth: Truth, core: tuple[int, int], measured: Mapping[str, Any], gains: Mapping[str, Any], used: BoolArray,
    record: Mapping[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """CV of what one source's events add, by type: with equal copies, and with the copies that the gains ask for."""
    entries = truth.entries.shape[-1]
    sound = np.ones((used.size, entries), dtype=bool)
    for place in [*record["dead_cam"], *(s[:4] for s in record["stuck_tag_bits"])]:
        if tuple(place[:2]) == core:
            sound[place[2], place[3]] = False
    of_entry = np.where(truth.works[core], truth.entries[core], 0.0)
    number = np.cumsum(sound, axis=1)  # of the entry among the neuron's sound ones, from 1
    found = []
    for quantity, m in measured.items():
        name, _, part = quantity.partition(".")
        values = truth.values(*core, quantity, m["codes"])
        if part != "weight_a" or name == "adaptation" or values is None or used.sum() < 2:
            continue
        works = truth.works[core]
        nominal_entry = values / (of_entry.sum(axis=1) / works.sum(axis=1))
        row: dict[str, Any] = {"quantity": quantity}
        for base in BASE_COPIES:
            copies = np.maximum(1, np.floor(base / _gain(gains.get(quantity), used.size) + 0.5))
            for name_of, count in (("before", np.full(used.size, base)), ("after", copies)):
                taken = sound & (number <= count[:, None])
                row[f"{name_of}_{base}"] = _cv((nominal_entry * (of_entry * taken).sum(axis=1))[used])
        found.append(row)
    return found


def _rates(
    truth: Truth, core: tuple[int, int], measured: Mapping[str, Any], gains: Mapping[str, Any], used: BoolArray
) -> list[dict[str, float]]:
    """CV of the true rates of all neurons that may be used, and of those that the record says are nearest to the median."""
    codes = {name: code for q in ("tau_s", "refractory_s") for name, code in measured.get(q, {"codes": {}})["codes"].items()}
    if {"leak1", "refractory"} - set(truth.currents_a(codes)) or used.sum() < 2:
        return []
    neurons = used.size
    told = {q: _gain(gains.get(q), neurons) for q in ("dc_a", "tau_s", "refractory_s")}
    true, said = truth.rates_hz(*core, codes), truth.rates_hz(*core, codes, told)
    with np.errstate(divide="ignore"):
        off = np.where(used, np.abs(np.log(said / np.median(said[used]))), math.inf)
        best = np.where(used, np.abs(np.log(true / np.median(true[used]))), math.inf)
    kept = round(KEPT * neurons)
    chosen, ideal = (np.argsort(x, kind="stable")[: min(kept, int(used.sum()))] for x in (off, best))
    return [{"before": _cv(true[used]), "kept": _cv(true[chosen]), "best_possible": _cv(true[ideal])}]


def _coverage(
    truth: Truth, core: tuple[int, int], quantity: str, measured: Mapping[str, Any], gain: Mapping[str, Any]
) -> tuple[int, int]:
    """How many neurons' true gains lie in their 95 % intervals, and of how many."""
    codes = measured.get(quantity, {"codes": {}})["codes"]
    values = truth.values(*core, quantity, codes)
    if values is None and quantity in ("tau_s", "tau2_s", "dc_a"):  # their gains do not hang on a code
        factor = truth.factor[_role(quantity)][core]
        values = factor if quantity == "dc_a" else 1.0 / factor
    if values is None:
        return 0, 0
    true = values / np.median(values[truth.alive[core]])
    low, high = (np.array([math.nan if v is None else v for v in gain[side]]) for side in ("low", "high"))
    known = np.isfinite(low) & np.isfinite(high)
    return int(((low <= true) & (true <= high))[known].sum()), int(known.sum())


def _neurons(truth: Truth, cores: list[tuple[int, int]], listed: Mapping[tuple[int, int, int], str]) -> dict[str, int]:
    """Neurons by what they are and what the record says."""
    counts = dict.fromkeys(("neurons", "right", "defects", "found", "named_right", "false_ok", "false_defect", "left_out"), 0)
    for core in cores:
        for neuron in range(truth.alive.shape[-1]):
            is_so, said = truth.defect(*core, neuron), listed.get((*core, neuron), "ok")
            chosen = said in ("outlier", "unmeasured", "deselected")  # sound, and not to be used
            counts["neurons"] += 1
            counts["left_out"] += chosen and is_so == "ok"
            if is_so != "ok":
                counts["defects"] += 1
                counts["found"] += said != "ok"
                counts["named_right"] += said == is_so
                counts["false_ok"] += said == "ok"
            else:
                counts["false_defect"] += said != "ok" and not chosen
            counts["right"] += (is_so == "ok") == (said == "ok" or (chosen and is_so == "ok"))
    return counts


def _cam(truth: Truth, cores: list[tuple[int, int]], record: Mapping[str, Any]) -> dict[str, int]:
    """Dead CAM entries and stuck tag bits of live neurons: how many there are, were found, and were invented."""
    live = {c: set(np.flatnonzero(truth.alive[c]).tolist()) for c in cores}

    def kept(rows: Any) -> set[tuple[int, ...]]:
        return {tuple(r) for r in rows if tuple(r[:2]) in live and r[2] in live[tuple(r[:2])]}

    dead, stuck = kept(truth.profile.dead_cam), kept(truth.profile.stuck_tag_bits)
    said_dead, said_stuck = kept(record["dead_cam"]), kept(record["stuck_tag_bits"])
    bad = dead | {s[:4] for s in stuck}
    said = said_dead | {s[:4] for s in said_stuck}
    return {
        "bad": len(bad), "found": len(bad & said), "false_ok": len(bad - said), "false_defect": len(said - bad),
        "stuck": len(stuck), "stuck_named": len(stuck & said_stuck),
    }  # fmt: skip
