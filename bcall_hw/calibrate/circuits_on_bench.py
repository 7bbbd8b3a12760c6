"""The DPIs on the bench: pulse width, synapses and adaptation, from targets to codes, measurements and scales."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bcall_hw.arrays import BoolArray, FloatArray
from bcall_hw.calibrate import adaptation, listeners, pulse, synapse
from bcall_hw.calibrate.bench import Bench
from bcall_hw.calibrate.estimate import Estimate, medians
from bcall_hw.calibrate.findings import Findings
from bcall_hw.calibrate.scales import Scales
from bcall_hw.calibrate.synapse import SynapseEstimate
from bcall_hw.calibrate.targets import Targets
from bcall_hw.chip_model import BiasCode, SynapseType
from bcall_hw.errors import EmulatorOverflow
from bcall_hw.failure_reasons import FailureReason
from bcall_hw.mapping import BiasChoice
from bcall_hw.network import SynapseParameters

#: The first look is at another time constant and weight than the target, by this factor: a bias that does not move is seen.
_FIRST_LOOK = 1.5
#: Pulses that last keep this distance, in widths.
_APART = 2.2
#: The same before the width is known: capacitances may be off by a factor of two, and neurons differ.
_APART_AT_FIRST = 4.0
#: What a volley may be off from what shows well before it is measured again.
_TOO_WEAK, _TOO_STRONG = 0.4, 2.2
#: A time constant (ln over the wanted one) that is set anew before it is used.
_FAR_OFF = 0.3
#: Share of the tolerance from which on a held-out residual is corrected.
_NEAR_EDGE = 0.7
_HOLD_TAU_S = 0.003
#: Time constants (s) that spikes can tell.
SHORTEST_S, LONGEST_S = 0.002, 0.4

Read = Callable[[BiasChoice], float]


class DpiBench:
    """Steps of a calibration that need events.

    Args:
        lasting: pulses last and restart, so that events are kept apart.
        seed: shifts the volleys.
    """

    def __init__(self, bench: Bench, scales: Scales, findings: Findings, targets: Targets, lasting: bool, seed: int) -> None:
        self.bench, self.scales, self.findings, self.targets = bench, scales, findings, targets
        self.lasting, self.seed = lasting, seed
        self.chip, self.neuron = bench.chip, targets.neuron
        self.turn = 0

    # Codes -----------------------------------------------------------------------------------------------------------

    def predicted(self, quantity: str) -> FloatArray:
        """What the code for a quantity's target is predicted to give, shape (cores,); NaN where there is none."""
        return _of([c.get(quantity) for c in self.scales.choices(self.neuron)], lambda choice: choice.predicted)

    def currents(self, quantity: str) -> FloatArray:
        """Current of the code for a quantity (A), shape (cores,); notes the codes, and the cores that have none."""
        choices = self.scales.choices(self.neuron)
        self._note(quantity, choices, [quantity])
        return _of([c.get(quantity) for c in choices], lambda b: float(self.chip.current_a[b.code.coarse, b.code.fine]))

    def _note(self, quantity: str, choices: list[dict[str, BiasChoice]], needed: list[str]) -> None:
        missing = np.array([any(name not in mine for name in needed) for mine in choices])
        self.findings.fail(quantity, missing, FailureReason.OUT_OF_RANGE)
        self.findings.codes[quantity] = [{mine[n].bias: mine[n].code for n in needed if n in mine} for mine in choices]
        self.findings.coarse[quantity] = np.nan_to_num(_of([m.get(quantity) for m in choices], lambda choice: choice.error))

    def _set(self, name: str, wanted: SynapseParameters, target: bool = True) -> dict[str, FloatArray]:
        """Set the codes of one DPI and of the pulse width; returns what they are predicted to give.

        Codes for the target are noted, and cores that have none; those of a look at something else are not.
        """
        change = {"adaptation": wanted} if name == "adaptation" else {"synapses": {name: wanted}}
        neuron = self.neuron.model_copy(update={"synapses": {}, "adaptation": None} | change)
        choices = self.scales.choices(neuron)
        parts = [f"{name}.tau_s", f"{name}.gain_a", f"{name}.weight_a"]
        if target:
            self._note(f"{name}.tau_s", choices, parts[:1])
            self._note(f"{name}.weight_a", choices, ["pulse_width_s", *parts])
        set_now = ["pulse_width_s", *parts]
        self.bench.set_codes([
            {mine[n].bias: mine[n].code for n in set_now if n in mine} if all(n in mine for n in set_now) else {}
            for mine in choices
        ])  # fmt: skip
        return {n: _of([m.get(n) for m in choices], lambda choice: choice.predicted) for n in set_now}

    def _offset(self) -> int:
        self.turn += 1
        return self.seed + self.turn

    def _apart_s(self, pulse_s: float) -> float:
        known = "pulse_width_s" in self.findings.first
        return (_APART if known else _APART_AT_FIRST) * pulse_s if self.lasting else 0.0

    # Pulse width -----------------------------------------------------------------------------------------------------

    def pulse(self) -> None:
        """The width under the code for its target, through an exciting type."""
        # Pulses that last are told by their events as far as the width is known: once more with what the first look says.
        for _ in range(2 if self.lasting else 1):
            found = self._pulse(learn=True)
            self.findings.learn("pulse_width_s", found, self.predicted("pulse_width_s"))

    def held_out_pulse(self) -> None:
        """The width once more, under the final code."""
        found, first = self._pulse(learn=False), self.findings.first.get("pulse_width_s")
        if first is not None:
            self.findings.check_move("pulse_width_s", first.median, found.median, self.predicted("pulse_width_s"))
        self.findings.held["pulse_width_s"] = found

    def _pulse(self, learn: bool) -> Estimate:
        bench, kind = self.bench, self._exciting()
        listeners.listen(bench.rig, kind)
        pulse_a, width = self.currents("pulse_width_s"), _typical(self.predicted("pulse_width_s"))
        if np.isnan(width):
            return _nothing(bench)
        net, tau_s = synapse.wanted_volley_a(bench, kind), pulse.tau_for(width)
        for _ in range(2):
            bench.empty()
            scale = self.scales.so_far(f"{kind}.tau_s")
            tau_a = bench.tau_charge_c(kind) * scale / tau_s
            gain_a = (pulse.LASTING_FULL_SCALE if self.lasting else pulse.FULL_SCALE) * net / pulse.WEIGHT_RATIO
            bench.set_currents(pulse_width=pulse_a)
            weight_a = tau_a * (pulse.WEIGHT_RATIO + 1.0)
            bench.set_currents(**{f"{kind}_tau": tau_a, f"{kind}_gain": np.asarray(gain_a), f"{kind}_weight": weight_a})
            events = pulse.events_of_volley(width)
            seen = synapse.measure(bench, kind, tau_s, events, self._apart_s(width), width, offset=self._offset())
            if not learn:
                break
            predicted = bench.tau_charge_c(kind) * scale / bench.current_a[f"{kind}_tau"]
            self.scales.learn(f"{kind}.tau_s", seen.tau.median, predicted)
            if not np.nanmax(np.append(np.abs(np.log(seen.tau.median / tau_s)), 0.0)) > _FAR_OFF:
                break
        return pulse.measure(bench, seen, width, self._apart_s(width), self._offset())

    def _exciting(self) -> str:
        every = [t.name for t in self.chip.synapse_types if t.effect == "excitatory"]
        return every[0]

    # Synapses --------------------------------------------------------------------------------------------------------

    def synapse(self, kind: SynapseType, held_out: bool, correct: bool = True) -> None:
        """Time constant and weight of a type; held out, on the final codes, and once more where they miss.

        Codes that the backend refuses, after a bias did something else than it was told, end this type alone.
        """
        try:
            self._synapse(kind, held_out, correct)
        except EmulatorOverflow:
            every = np.ones(len(self.bench.rig.cores), dtype=bool)
            for part in ("tau_s", "weight_a"):
                self.findings.fail(f"{kind}.{part}", every, FailureReason.BACKEND_ERROR)

    def _synapse(self, kind: SynapseType, held_out: bool, correct: bool) -> None:
        wanted = self.neuron.synapses[kind]
        listeners.listen(self.bench.rig, kind)
        if self._cannot_see(kind, wanted):
            return
        if not held_out:
            look = SynapseParameters(tau_s=wanted.tau_s * _FIRST_LOOK, weight_a=wanted.weight_a * _FIRST_LOOK)
            before, at_look = self._look(kind, look, target=False)
            after, at_target = self._look(kind, wanted, target=True)
            self._check_moves(kind, (before, at_look), (after, at_target))
            return
        self.bench.empty()
        for turn in range(2):
            predicted = self._set(kind, wanted)
            seen = self._observed(kind, predicted)
            self._hold(kind, seen)
            if turn or not correct or not self._missed(kind, wanted).any():
                return
            self._try_again(kind, wanted, seen, predicted)

    def _look(self, kind: str, wanted: SynapseParameters, target: bool) -> tuple[SynapseEstimate, dict[str, FloatArray]]:
        self.bench.empty()
        predicted = self._set(kind, wanted, target)
        given = {"tau_a": self.bench.current_a[f"{kind}_tau"], "weight": predicted[f"{kind}.weight_a"]}
        seen = self._observed(kind, predicted)
        self._learn(kind, seen, predicted)
        return seen, given

    def _learn(self, name: str, seen: SynapseEstimate, predicted: dict[str, FloatArray]) -> None:
        tau_s, pulse_s = predicted[f"{name}.tau_s"], predicted["pulse_width_s"]
        self.findings.learn(f"{name}.tau_s", seen.tau, tau_s)
        # The weight was predicted with the jump of a time constant that is known better now.
        now_s = np.where(np.isfinite(seen.tau.median), seen.tau.median, tau_s)
        better = synapse.jump_of(now_s, pulse_s) / synapse.jump_of(tau_s, pulse_s)
        self.findings.learn(f"{name}.weight_a", seen.weight, predicted[f"{name}.weight_a"] * better)

    def _hold(self, name: str, seen: SynapseEstimate) -> None:
        self.findings.held |= {f"{name}.tau_s": seen.tau, f"{name}.weight_a": seen.weight}

    def _try_again(self, name: str, wanted: SynapseParameters, seen: SynapseEstimate, predicted: dict[str, FloatArray]) -> None:
        """Correct the scales of cores that missed; what was held out belongs to codes that go, and proves nothing any more."""
        parts, missed = [f"{name}.tau_s", f"{name}.weight_a"], self._missed(name, wanted)
        before = {part: self.scales.so_far(part) for part in parts}
        self._learn(name, seen, predicted)
        for part in parts:
            self.scales.of[part] = np.where(missed, self.scales.of[part], before[part])
            del self.findings.held[part]

    def _missed(self, name: str, wanted: SynapseParameters) -> BoolArray:
        """Cores whose held-out value lies near the edge of the tolerance or beyond it, shape (cores,)."""
        missed = np.zeros(len(self.bench.rig.cores), dtype=bool)
        for quantity, target in ((f"{name}.tau_s", wanted.tau_s), (f"{name}.weight_a", wanted.weight_a)):
            residual = np.abs(self.findings.held[quantity].median / target - 1.0)
            missed |= np.nan_to_num(residual) > _NEAR_EDGE * self.targets.tolerance
        return missed

    def _observed(self, kind: str, predicted: dict[str, FloatArray]) -> SynapseEstimate:
        """Measured with a volley that shows well: its strength is seen, and corrected once or twice."""
        bench = self.bench
        tau_s, weight_a, pulse_s = (_typical(predicted[n]) for n in (f"{kind}.tau_s", f"{kind}.weight_a", "pulse_width_s"))
        if np.isnan(tau_s * weight_a * pulse_s):
            return SynapseEstimate(_nothing(bench), _nothing(bench))
        wished = synapse.wanted_volley_a(bench, kind)
        for attempt in range(3):
            jump = float(synapse.jump_of(np.array(tau_s), pulse_s))
            events = synapse.events_for(bench, kind, weight_a, jump)
            seen = synapse.measure(bench, kind, tau_s, events, self._apart_s(pulse_s), pulse_s, offset=self._offset())
            weight, tau = _typical(seen.weight.median), _typical(seen.tau.median)
            if attempt == 2 or not np.isfinite(weight * tau):
                return seen
            strength = weight * events / wished
            again = events != synapse.events_for(bench, kind, weight, jump)
            if (_TOO_WEAK < strength < _TOO_STRONG or not again) and 0.6 < tau / tau_s < 1.7:
                return seen
            weight_a, tau_s = weight, tau
        return seen

    def _cannot_see(self, name: str, wanted: SynapseParameters) -> bool:
        hidden = not SHORTEST_S <= wanted.tau_s <= LONGEST_S
        if hidden:
            for part in ("tau_s", "weight_a"):
                self.findings.fail(f"{name}.{part}", np.ones(len(self.bench.rig.cores), dtype=bool), FailureReason.UNOBSERVABLE)
        return hidden

    def _check_moves(
        self, kind: str, look: tuple[SynapseEstimate, dict[str, FloatArray]],
        target: tuple[SynapseEstimate, dict[str, FloatArray]],
    ) -> None:  # fmt: skip
        """A time constant that did not follow its code, or a weight that did not, belongs to a stuck bias."""
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = look[0].tau.median * look[1]["tau_a"] / target[1]["tau_a"]
        self.findings.check_move(f"{kind}.tau_s", look[0].tau.median, target[0].tau.median, expected)
        self.findings.check_move(f"{kind}.weight_a", look[0].weight.median, target[0].weight.median, target[1]["weight"])

    # Adaptation ------------------------------------------------------------------------------------------------------

    def adaptation(self, held_out: bool) -> None:
        """Time constant and current per own spike."""
        wanted = self.neuron.adaptation
        if wanted is None or self._cannot_see("adaptation", wanted):
            return
        hold = next(t.name for t in self.chip.synapse_types if t.effect == "subtractive")
        listeners.listen(self.bench.rig, hold)
        self.bench.empty()
        strength = 2.0 * synapse.wanted_volley_a(self.bench, self._exciting())
        for turn in range(2):
            self._set(hold, SynapseParameters(tau_s=_HOLD_TAU_S, weight_a=strength), target=False)
            predicted = self._set("adaptation", wanted)
            enable = self.scales.mapping.adaptation.enable_code
            tau, weight = adaptation.measure(
                self.bench, wanted.tau_s, strength, enable, self._jumping(predicted), self._offset()
            )
            seen = SynapseEstimate(tau, weight)
            if not held_out:
                self._learn("adaptation", seen, predicted)
                ratio = _typical(tau.median) / wanted.tau_s
                if turn or np.isnan(ratio) or 0.7 < ratio < 1.4:
                    break
                continue
            self._hold("adaptation", seen)
            if turn or not self._missed("adaptation", wanted).any():
                break
            self._try_again("adaptation", wanted, seen, predicted)
        self.bench.rig.set({"ahp_enable": BiasCode(coarse=0, fine=0)})

    def _jumping(self, predicted: dict[str, FloatArray]) -> FloatArray:
        """Pulse width (s) of every neuron where pulses are jumps, 0 where they last, shape (cores, neurons)."""
        width = self.findings.first.get("pulse_width_s")
        if self.lasting or width is None:
            return np.zeros(self.bench.rig.shape)
        with np.errstate(invalid="ignore", divide="ignore"):
            gain = np.where(width.measured, width.value / width.median[:, None], 1.0)
        return np.nan_to_num(predicted["pulse_width_s"][:, None] * gain)


def _typical(values: FloatArray) -> float:
    """Median of the cores that have a value; NaN where none has."""
    return float(medians(values[None])[0])


def _nothing(bench: Bench) -> Estimate:
    """No neuron was measured: no core has codes."""
    return Estimate(np.full(bench.rig.shape, np.nan), np.full(bench.rig.shape, np.nan))


def _of(choices: list[BiasChoice | None], read: Read) -> FloatArray:
    return np.array([np.nan if choice is None else read(choice) for choice in choices])
