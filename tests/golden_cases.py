"""The golden vectors' configurations: each exercises one feature of the emulator on a small chip (2 cores of 16 neurons)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from emulator_helpers import Board, events, poisson, random_board, random_stimulus, silence, target

from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import BiasCode, ChipModel
from bcall_hw.stimulus import Stimulus

KINDS = ("AMPA", "NMDA", "GABA_A", "GABA_B")
SYNAPSES = {"AMPA": (0.01, 6e-11), "NMDA": (0.03, 3e-11), "GABA_A": (0.01, 4e-12), "GABA_B": (0.02, 3e-11)}
STUCK = ((0, 0, 1, 0, 0, 0), (0, 0, 2, 2, 5, 0), (0, 1, 4, 1, 1, 1))
Run = tuple[ChipConfig, Stimulus, int]  # registers, stimulus, steps


@dataclass(frozen=True)
class Case:
    """One golden vector: what it exercises, the board, and its runs one after another.

    Attributes:
        shown: what must hold between runs for the vector to exercise its feature: of (state words, pending spikes).
    """

    feature: str
    runs: tuple[Run, ...]
    options: dict[str, Any] = field(default_factory=dict)
    shown: Callable[[list[tuple[np.ndarray, np.ndarray]]], bool] = lambda _: True

    def play(self, implementation: str) -> dict[str, Any]:
        """Hashes of what one implementation gives."""
        first = self.runs[0][0]
        emulator = Emulator(first.chip, first.chips, implementation=implementation, **self.options)  # type: ignore[arg-type]
        spikes, states, count = [], [], 0
        seen: list[tuple[np.ndarray, np.ndarray]] = []
        for config, stimulus, steps in self.runs:
            emulator.apply(config)
            recording = emulator.run(stimulus, steps * emulator.dt_us * 1e-6)
            spikes.append(recording.sha256)
            states.append(emulator.state_sha256())
            count += len(recording)
            saved = emulator.save_state()
            seen.append((np.asarray(saved["rows"]), np.asarray(saved["pending"])))
        if not self.shown(seen):
            raise AssertionError(f"the vector does not show its feature: {self.feature}")
        return {"spikes": count, "spikes_sha256": spikes, "state_sha256": states}

    @property
    def config_sha256(self) -> list[str]:
        """Hashes of the registers of the runs."""
        return [config.sha256 for config, _, _ in self.runs]


def base(chip: ChipModel, chips: tuple[int, ...] = (0,), **changes: Any) -> Board:
    """All cores driven near threshold; neuron n hears tag 32 + n % 4 through one entry of each type."""
    board = Board(chips, chip)
    parameters = {"tau_s": 0.02, "gain_a": 1e-9, "pulse_width_s": 1e-4, "dc_a": 8e-11, "synapses": SYNAPSES}
    for number in chips:
        for core in range(chip.geometry.cores):
            board.neurons(core, target(**(parameters | changes)), number)
            for neuron in range(chip.geometry.neurons):
                for entry, kind in enumerate(KINDS):
                    board.listen(core, neuron, entry, 32 + neuron % 4, kind, number)
    return board


def train(chip: ChipModel, tags: tuple[int, ...] = (32, 33, 34, 35), chips: tuple[int, ...] = (0,), mask: int = 3) -> Stimulus:
    """Events every 1.3 ms in turn, and two at the same time."""
    rows = [(1300.0 * k, chips[k % len(chips)], mask, tags[k % len(tags)]) for k in range(12)]
    return events([*rows, rows[3], rows[3]], chip)


def _only(chip: ChipModel, kind: str, **changes: Any) -> Case:
    """One synapse type alone."""
    board = base(chip, **changes)
    for core in range(2):
        for other in set(KINDS) - {kind}:
            board.code(core, f"{other}_weight", BiasCode(coarse=0, fine=0))
    return Case(f"{kind} alone", ((board.config(), train(chip), 300),))


def _nmda_gate(chip: ChipModel) -> Case:
    board = base(chip, synapses=SYNAPSES | {"NMDA": (0.03, 4e-10)})
    board.current(0, "nmda_gate", 2e-12)
    board.current(1, "nmda_gate", 1e-9)
    return Case("NMDA gate", ((board.config(), train(chip), 300),))


def _leaks(chip: ChipModel) -> Case:
    board = base(chip, dc_a=1.5e-10)
    board.current(0, "leak2", 2e-10)
    board.current(1, "leak2", 2e-5)
    board.tau2[0, :, ::2] = True
    return Case("choice of the leak, and a leak that saturates its word", ((board.config(), train(chip), 400),))


def _adaptation(chip: ChipModel, enabled: bool) -> Case:
    board = base(chip, dc_a=4e-10, adaptation=(0.05, 2e-11))
    if not enabled:
        board.code(None, "ahp_enable", BiasCode(coarse=4, fine=0))
    return Case("adaptation" if enabled else "adaptation switched off", ((board.config(), train(chip), 800),))


def _saturating_sum(chip: ChipModel) -> Case:
    board = base(chip, pulse_width_s=5e-3)
    for neuron in range(16):
        board.listen(0, neuron, slice(0, 8), 40, "AMPA")
    rows = [(100.0 * k, 0, 1, 40) for k in range(30) for _ in range(3)]
    return Case("sum of jumps held at one", ((board.config(), events(rows, chip), 100),))


def _weight_off(chip: ChipModel) -> Case:
    """A current that is there when its weight is switched off."""
    board, off = base(chip), base(chip)
    for kind in KINDS:
        off.code(None, f"{kind}_weight", BiasCode(coarse=0, fine=0))
    return Case("weights switched off between runs", tuple((b.config(), train(chip), 150) for b in (board, off, board)))


def _recurrent(chip: ChipModel) -> Case:
    board = base(chip, dc_a=3e-10)
    for core in range(2):
        for neuron in range(16):
            board.send(core, neuron, 0, 0b01 if core else 0b11, 2)
            board.listen(core, neuron, 5, 32 + (neuron + 3) % 16, "AMPA")
    return Case("recurrent spikes, core masks and virtual cores", ((board.config(), train(chip), 500),))


def _hops(chip: ChipModel) -> Case:
    chips = (0, 1, 2, 3)
    board = base(chip, chips, dc_a=3e-10)
    for number in chips:
        for neuron in range(16):
            for entry, hops in enumerate(((1, 0), (0, 1), (-1, -1))):
                board.send(0, neuron, entry, 0b10, 2 if entry else 3, number, hops)
    return Case("hops to the other chips and off the board", ((board.config(), train(chip, chips=chips), 300),))


def _missing_chips(chip: ChipModel) -> Case:
    board = base(chip, (1, 2), dc_a=3e-10)
    for neuron in range(16):
        board.send(0, neuron, 0, 0b11, 2, 1, (-1, 1))
        board.send(0, neuron, 1, 0b11, 2, 1, (0, 1))
        board.send(1, neuron, 0, 0b01, 2, 2, (1, -1))
    return Case("some chips of the board only", ((board.config(), train(chip, chips=(1, 2)), 300),))


def _cleared(chip: ChipModel) -> Case:
    rows = [(700.0 * k, 0, 3, 0) for k in range(20)]
    return Case("cleared CAM entries hear the reserved tag", ((base(chip).config(), events(rows, chip), 200),))


def _poisson(chip: ChipModel, listed: bool) -> Case:
    rates = {32: 150.0, 33: 400.0, 35: 4300.0}
    stimulus = poisson(rates, 0, 0b10 if listed else 0b11, train(chip) if listed else silence(chip))
    config = base(chip).config()
    feature = "Poisson sources beside a list" if listed else "Poisson sources over two runs"
    return Case(feature, ((config, stimulus, 200), (config, stimulus, 173)), {"profile": BoardProfile(seed=11)})


def _finite(chip: ChipModel, cam_mismatch: bool) -> Case:
    board = base(chip, pulse_width_s=4e-3)
    profile = BoardProfile(seed=3, mismatch_cv=0.1, cam_mismatch_cv=0.3 if cam_mismatch else 0.0)
    feature = "finite pulses of CAM entries that differ" if cam_mismatch else "finite pulses"
    return Case(feature, ((board.config(), train(chip), 300),), {"profile": profile, "pulses": "finite"})


def _restart(chip: ChipModel) -> Case:
    """Events every 2.5 ms into pulses of 4 ms; runs end where one event is 2 ms old and the next has just come."""
    board = base(chip, pulse_width_s=4e-3)
    rows = [(2500.0 * k, 0, 3, 32) for k in range(4)]
    runs = ((board.config(), events(rows[:2], chip), 45), (board.config(), silence(chip), 10))

    def shown(seen: list[tuple[np.ndarray, np.ndarray]]) -> bool:
        left = [int(rows[0, words.PULSE, 0]) for rows, _ in seen]  # a pulse that did not restart would have ended at 4 ms
        return left[0] > 0 and left[1] == left[0] - 10

    return Case("finite pulses restart", runs, {"pulses": "finite"}, shown)


def _longest(chip: ChipModel) -> Case:
    """Several entries of one type, of different widths, and a shorter pulse that comes into a longer one."""
    board, short = base(chip, pulse_width_s=4e-3), base(chip, pulse_width_s=1.5e-3)
    for one in (board, short):
        for neuron in range(16):
            for entry in (4, 5, 6):
                one.listen(0, neuron, entry, 32, "AMPA")
    rows = [(0.0, 0, 3, 32), (1000.0, 0, 3, 33)]
    runs = ((board.config(), events(rows, chip), 12), (short.config(), events(rows[:1], chip), 20))

    def shown(seen: list[tuple[np.ndarray, np.ndarray]]) -> bool:
        return int(seen[1][0][0, words.PULSE, 0]) > 0  # 1.5 ms later the first pulse still lasts

    options = {"pulses": "finite", "profile": BoardProfile(seed=2, cam_mismatch_cv=0.3)}
    return Case("the longest of several finite pulses; a shorter one does not cut", runs, options, shown)


def _on_their_way(chip: ChipModel) -> Case:
    """All neurons fire in the same step, two of them under one tag, and the run ends there: their spikes are pending."""
    board = base(chip, dc_a=4e-10)
    for core in range(2):
        for neuron in range(16):
            board.send(core, neuron, 0, 0b11, 2)  # both cores send the same tags
            board.listen(core, neuron, 5, 32 + (neuron + 3) % 16, "AMPA")
    config = board.config()
    first = Emulator(chip, profile=BoardProfile())
    first.apply(config)
    steps = int(first.run(silence(chip), 0.05).spikes["time_us"][0]) // 100
    runs = ((config, silence(chip), steps), (config, silence(chip), 60))

    def shown(seen: list[tuple[np.ndarray, np.ndarray]]) -> bool:
        pending = seen[0][1].tolist()
        return len(pending) > len({tuple(p) for p in pending}) > 0

    return Case("spikes on their way from run to run, equal ones too", runs, {}, shown)


def _off_by_nominal(chip: ChipModel) -> Case:
    """A weight code equal to the leak's: off for every neuron, whatever its mismatch."""
    board = base(chip, dc_a=2e-10)
    for core in range(2):
        code = board.biases[0, core, chip.bias_index("AMPA_tau")].copy()
        board.biases[0, core, chip.bias_index("AMPA_weight")] = code

    def shown(seen: list[tuple[np.ndarray, np.ndarray]]) -> bool:
        return not seen[0][0][:, words.I_SYN].any() and bool(seen[0][0][:, words.I_SYN + 1].any())

    runs = ((board.config(), train(chip), 300),)
    return Case("a weight that is off by its nominal current", runs, {"profile": BoardProfile(seed=1, mismatch_cv=0.3)}, shown)


def _profile(chip: ChipModel, feature: str, **options: Any) -> Case:
    runs = ((base(chip, dc_a=2e-10, adaptation=(0.05, 4e-12)).config(), train(chip), 400),)
    return Case(feature, runs, {"profile": BoardProfile(seed=7, **options)})


def _step(chip: ChipModel, dt_us: int) -> Case:
    board = base(chip, dc_a=2e-10, pulse_width_s=2e-3)
    return Case(f"time step of {dt_us} us", ((board.config(), train(chip), 40_000 // dt_us // 2),), {"dt_us": dt_us})


def _biases_change(chip: ChipModel) -> Case:
    runs = tuple(
        (base(chip, dc_a=dc_a, tau_s=tau_s).config(), train(chip), 150) for dc_a, tau_s in ((4e-10, 0.02), (5e-11, 0.005))
    )
    return Case("biases that change while currents flow", (*runs, runs[0]))


def _random(chip: ChipModel, seed: int) -> Case:
    """Everything at once."""
    rng = np.random.default_rng(seed)
    profile = BoardProfile(
        seed=seed, mismatch_cv=0.2, cam_mismatch_cv=0.15, noise_a=4e-12, dead_neurons=((0, 0, 3),), dead_cam=((0, 1, 2, 1),),
        stuck_tag_bits=((0, 0, 1, 0, 4, 1), (0, 1, 5, 2, 0, 0)),
    )  # fmt: skip
    runs = []
    for kind in ("list", "poisson", "both"):
        config = random_board(rng, (0, 3), (0, 1), chip).config()
        runs.append((config, random_stimulus(rng, (0, 3), 10_000, kind, chip), 100))
    return Case("everything at once", tuple(runs), {"profile": profile})


CASES: dict[str, Callable[[ChipModel], Case]] = {
    "rest": lambda c: Case("silence", ((Board((0,), c).config(), silence(c), 50),)),
    "constant_input": lambda c: Case("constant input, spikes", ((base(c, dc_a=4e-10).config(), silence(c), 500),)),
    "refractory": lambda c: Case("refractory period", ((base(c, dc_a=2e-9, refractory_s=7e-3).config(), silence(c), 300),)),
    **{f"synapse_{kind}": (lambda c, k=kind: _only(c, k, dc_a=2e-10)) for kind in KINDS},  # type: ignore[misc]
    "nmda_gate": _nmda_gate,
    "leaks": _leaks,
    "adaptation": lambda c: _adaptation(c, True),
    "adaptation_off": lambda c: _adaptation(c, False),
    "saturating_sum": _saturating_sum,
    "weight_off": _weight_off,
    "recurrent": _recurrent,
    "hops": _hops,
    "missing_chips": _missing_chips,
    "cleared_entries": _cleared,
    "poisson": lambda c: _poisson(c, False),
    "poisson_and_list": lambda c: _poisson(c, True),
    "finite_pulses": lambda c: _finite(c, False),
    "finite_pulses_cam_mismatch": lambda c: _finite(c, True),
    "finite_restart": _restart,
    "finite_longest": _longest,
    "on_their_way": _on_their_way,
    "weight_off_by_nominal": _off_by_nominal,
    "mismatch": lambda c: _profile(c, "mismatch of neurons", mismatch_cv=0.2),
    "cam_mismatch": lambda c: _profile(c, "mismatch of CAM entries", cam_mismatch_cv=0.3),
    "noise": lambda c: _profile(c, "noise", noise_a=2e-11),
    "dead_neurons": lambda c: _profile(c, "dead neurons", dead_neurons=((0, 0, 0), (0, 1, 9), (3, 0, 2))),
    "dead_cam": lambda c: _profile(c, "dead CAM entries", dead_cam=((0, 0, 1, 0), (0, 0, 2, 3), (0, 1, 4, 1))),
    "stuck_bits": lambda c: _profile(c, "stuck tag bits", stuck_tag_bits=STUCK),
    "step_10us": lambda c: _step(c, 10),
    "step_1000us": lambda c: _step(c, 1000),
    "biases_change": _biases_change,
    "everything": lambda c: _random(c, 1),
}  # fmt: skip


def all_cases(chip: ChipModel) -> Iterator[tuple[str, Case]]:
    """Name and case."""
    for name, make in CASES.items():
        yield name, make(chip)
