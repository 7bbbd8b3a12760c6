"""The bench: registers and stimuli for all cores of a board at once, spikes back, through the Backend protocol alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.backend import Backend
from bcall_hw.calibrate.spike_trains import SpikeTrains
from bcall_hw.chip_config import BIAS_DTYPE, ChipConfig
from bcall_hw.chip_model import BiasCode, ChipModel
from bcall_hw.errors import BudgetSpent
from bcall_hw.stimulus import Stimulus

Core = tuple[int, int]
Codes = Mapping[str, BiasCode]
Report = Callable[[str, int, int], None]

#: Mean rate of a core's neurons above which it is silenced (Hz): more than any measurement asks for.
OVERLOAD_HZ = 600.0


@dataclass(frozen=True, eq=False)
class Train:
    """Events that all cores hear: times (s, ascending) and tags, equal lengths."""

    times_s: FloatArray
    tags: IntArray

    @classmethod
    def none(cls) -> Train:
        """No event."""
        return cls(np.zeros(0), np.zeros(0, dtype=np.int64))


@dataclass
class Rig:
    """Some cores of a board on the bench.

    Every core not in `cores` rests with the chip model's quiet codes, and so does a core that fired too much.

    Attributes:
        backend: what is measured; nothing of it is used but the protocol.
        chip: its chip model.
        cores: (chip id, core) of the cores that are measured, ascending.
        budget_s: board time that may be used (s).
        spent_s: board time used.
        overloaded: cores that were silenced because they fired too much.
    """

    backend: Backend
    chip: ChipModel
    cores: tuple[Core, ...]
    budget_s: float = float("inf")
    report: Report | None = None
    spent_s: float = 0.0
    overloaded: set[Core] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.chips = tuple(sorted({chip for chip, _ in self.cores}))
        empty = ChipConfig.after_opening(self.chip, self.chips)
        quiet = empty.biases.copy()
        quiet[...] = np.array(self.chip.quiet_codes, dtype=np.uint16).view(BIAS_DTYPE).ravel()
        self._config = empty.with_registers(biases=quiet)

    @property
    def shape(self) -> tuple[int, int]:
        """(measured cores, neurons of a core)."""
        return len(self.cores), self.chip.geometry.neurons

    @property
    def config(self) -> ChipConfig:
        """The registers as they were set last."""
        return self._config

    def listen(self, tags: IntArray, types: IntArray) -> None:
        """Every neuron's CAM: tag and type code of each entry.

        Args:
            tags, types: shape (entries,) for all neurons alike, (neurons, entries), or of all registers: (chips, cores of a
                chip, neurons, entries).
        """
        cam = self._config.cam.copy()
        cam["source_core"], cam["source_neuron"] = np.divmod(tags, self.chip.geometry.neurons)
        cam["type"] = types
        self._config = self._config.with_registers(cam=cam)

    def second_leak(self, chosen: BoolArray) -> None:
        """Which neurons use the second leak bias, shape (measured cores, neurons)."""
        tau2 = self._config.tau2.copy()
        for (chip, core), mine in zip(self.cores, chosen, strict=True):
            tau2[self.chips.index(chip), core] = mine
        self._config = self._config.with_registers(tau2=tau2)

    @property
    def quiet(self) -> dict[str, BiasCode]:
        """The codes that keep a core quiet, by bias name."""
        codes = zip(self.chip.biases, self.chip.quiet_codes, strict=True)
        return {bias.name: BiasCode(coarse=c, fine=f, high=bool(h)) for bias, (c, f, h) in codes}

    def restore(self, config: ChipConfig, spent_s: float, overloaded: set[Core]) -> None:
        """Go on from an earlier point."""
        self._config, self.spent_s, self.overloaded = config, spent_s, overloaded

    def set_quiet(self) -> None:
        """Let every core rest."""
        self.set(self.quiet)

    def set(self, codes: Codes | Sequence[Codes]) -> None:
        """Bias codes by name or role: the same for all measured cores, or one mapping for each."""
        biases: npt.NDArray[np.void] = self._config.biases.copy()
        every = [codes] * len(self.cores) if isinstance(codes, Mapping) else codes
        for (chip, core), mine in zip(self.cores, every, strict=True):
            if (chip, core) in self.overloaded:
                continue
            for name, code in mine.items():
                place = self.chips.index(chip), core, self.chip.bias_index(name)
                biases[place] = (code.coarse, code.fine, int(code.high))
        self._config = self._config.with_registers(biases=biases)

    def run(self, duration_s: float, train: Train | None = None, settle_s: float = 0.0) -> SpikeTrains:
        """Write what was set, let it settle, play a train and return the spikes of the cores.

        Durations are rounded up to whole milliseconds.

        Raises:
            BudgetSpent: the board time that is left is too short.
            BcallError: whatever the backend raises.
        """
        duration_s, settle_s = (np.ceil(t * 1e3 - 1e-6) * 1e-3 for t in (duration_s, settle_s))
        needed_s = self.spent_s + duration_s + settle_s
        if needed_s > self.budget_s:
            used, limit = f"{needed_s:.1f} s", f"{self.budget_s:g} s"
            fix = "Give more board time, or measure fewer quantities."
            raise BudgetSpent("no board time is left", where="calibration", used=used, limit=limit, fix=fix)
        self.backend.apply(self._config)
        if settle_s:
            self.backend.run(Stimulus(self.chip), settle_s)
        recording = self.backend.run(self._stimulus(train or Train.none()), duration_s)
        self.spent_s += duration_s + settle_s
        if self.report:
            self.report("board time (s)", round(self.spent_s), max(round(self.spent_s), round(min(self.budget_s, 1e6))))
        trains = SpikeTrains.of(recording, self.cores, self.chip.geometry.neurons)
        self._guard(trains)
        return trains

    def _stimulus(self, train: Train) -> Stimulus:
        """The train for every chip; an event of all chips is several events at one time."""
        count, all_cores = train.times_s.size, 2**self.chip.geometry.cores - 1
        times = np.repeat(train.times_s * 1e6, len(self.chips))
        tags, chips = np.repeat(train.tags, len(self.chips)), np.tile(np.asarray(self.chips), count)
        return Stimulus.from_times(self.chip, times, chips, all_cores, tags)

    def _guard(self, trains: SpikeTrains) -> None:
        """Silence a core that fires more than any measurement asks for."""
        rates = trains.counts.reshape(self.shape).mean(axis=1) / trains.duration_s
        for core, rate in zip(self.cores, rates.tolist(), strict=True):
            if rate > OVERLOAD_HZ and core not in self.overloaded:
                self.set([self.quiet if c == core else {} for c in self.cores])
                self.overloaded.add(core)
                self.backend.apply(self._config)
