"""Stimulus: what the FPGA plays into the chips, as register values, within the FPGA's own limits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw import files, h5_files
from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.chip_model import ChipModel, read_chip, write_chip
from bcall_hw.errors import CorruptFile, ForeignFile, InvalidValue, IsiOverflow, StimulusOrder, StimulusProblem, StimulusTooLong

EVENT_DTYPE = np.dtype([("isi", "<u2"), ("chip", "u1"), ("core_mask", "u1"), ("tag", "<u2")])
_KIND, _VERSION = "stimulus", 1


#: A rate this close below a step of the register is that step (relative).
_STEP_TOLERANCE = 1e-9
#: Coarsest unit of times that is taken without being asked for (us).
_COARSEST_US = 10.0


def _no_events() -> npt.NDArray[np.void]:
    return np.zeros(0, dtype=EVENT_DTYPE)


def _no_rates() -> FloatArray:
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class Stimulus:
    """A list of timed events and the rates of Poisson sources, as the FPGA holds them.

    Attributes:
        chip: the chip model whose limits apply.
        events: structured array of `EVENT_DTYPE`: interval to the event before (units of isi_base / clock), target chip,
            core mask, tag.
        isi_base: clock ticks per unit of an interval.
        poisson_rates_hz: rate of each Poisson source, index = tag; empty for none.
        poisson_chip: the one chip that all Poisson sources reach.
        poisson_core_mask: the cores they reach.
    """

    chip: ChipModel
    events: npt.NDArray[np.void] = field(default_factory=_no_events)
    isi_base: int = 1
    poisson_rates_hz: FloatArray = field(default_factory=_no_rates)
    poisson_chip: int = 0
    poisson_core_mask: int = 0

    def __post_init__(self) -> None:
        for name in ("isi_base", "poisson_chip", "poisson_core_mask"):
            if type(getattr(self, name)) is not int:
                raise StimulusProblem("is no whole number", where=f"stimulus {name}", used=repr(getattr(self, name)))
        limits = self.chip.stimulus
        if len(self.events) > limits.max_events:
            raise _too_long(self.chip, len(self.events))
        _check_isi_base(self.chip, self.isi_base)
        if self.events.dtype != EVENT_DTYPE:
            raise InvalidValue("events have another dtype", where="stimulus", used=self.events.dtype, limit=EVENT_DTYPE)
        for name, top in _column_limits(self.chip).items():
            _column(name, self.events[name], len(self.events), top)
        if self.poisson_rates_hz.dtype != np.float64 or self.poisson_rates_hz.ndim != 1:
            used = (str(self.poisson_rates_hz.dtype), self.poisson_rates_hz.shape)
            raise InvalidValue("Poisson rates must be one row of float64", where="stimulus", used=used)
        self._check_poisson()
        self.events.setflags(write=False)
        self.poisson_rates_hz.setflags(write=False)

    def _check_poisson(self) -> None:
        rates, limits, geometry = self.poisson_rates_hz, self.chip.poisson, self.chip.geometry
        if rates.size > self.chip.stimulus.sources:
            used, limit = rates.size, self.chip.stimulus.sources
            raise StimulusProblem("more Poisson sources than the board has", where="stimulus", used=used, limit=limit)
        lost = np.flatnonzero((rates > 0) & (rates < limits.step_hz * (1 - _STEP_TOLERANCE)))
        if lost.size:
            rate, where = float(rates[lost[0]]), f"Poisson source {lost[0]}"
            raise StimulusProblem("rate below one step of the register (Hz)", where=where, used=rate, limit=limits.step_hz)
        bad = np.flatnonzero(~((rates >= 0) & (rates <= limits.max_hz)))
        if bad.size:
            rate, where = float(rates[bad[0]]), f"Poisson source {bad[0]}"
            raise StimulusProblem("rate out of range (Hz)", where=where, used=rate, limit=f"0 to {limits.max_hz}")
        if not 0 <= self.poisson_chip < geometry.chips or not 0 <= self.poisson_core_mask < 2**geometry.cores:
            target, top = (self.poisson_chip, self.poisson_core_mask), (geometry.chips - 1, 2**geometry.cores - 1)
            raise StimulusProblem("Poisson target out of range (chip, core mask)", where="stimulus", used=target, limit=top)
        if self.poisson_core_mask == 0 and bool(np.any(rates > 0)):
            raise StimulusProblem(
                "Poisson sources reach no core", where="stimulus", used="core mask 0", fix="Set the core mask."
            )

    @classmethod
    def from_times(
        cls,
        chip: ChipModel,
        times_us: npt.ArrayLike,
        chips: npt.ArrayLike,
        core_masks: npt.ArrayLike,
        tags: npt.ArrayLike,
        isi_base: int | None = None,
    ) -> Stimulus:
        """A list stimulus from absolute times since the start of the run (us, sorted).

        Times become multiples of isi_base / clock, rounded to nearest. With `isi_base` None the finest unit between 1 and
        10 us is taken that holds the longest gap; a coarser one has to be asked for.

        Raises:
            StimulusOrder: times not sorted, negative or not finite.
            IsiOverflow: a gap that no unit, or the given one, can hold.
            StimulusTooLong, StimulusProblem: see the class.
        """
        times = np.asarray(times_us, dtype=np.float64)
        _check_times(chip, times)
        ticks_per_us = chip.stimulus.clock_hz / 1e6
        gaps = np.diff(times, prepend=0.0)
        longest = float(gaps.max(initial=0.0)) + 1.0
        widest = chip.stimulus.max_isi * chip.stimulus.max_isi_base / ticks_per_us
        if isi_base is None:
            needed = int(np.ceil(min(longest, widest) * ticks_per_us / chip.stimulus.max_isi))
            base = min(max(round(ticks_per_us), needed), round(_COARSEST_US * ticks_per_us))
        else:
            _check_isi_base(chip, isi_base)
            base = isi_base
        limit = chip.stimulus.max_isi * base / ticks_per_us
        # Rounding to the unit can lengthen a gap by one unit.
        too_long = np.flatnonzero(gaps > limit)
        if not too_long.size:
            isi = np.diff(np.rint(times * (ticks_per_us / base)).astype(np.int64), prepend=0)
            too_long = np.flatnonzero(isi > chip.stimulus.max_isi)
        if too_long.size:
            index = int(too_long[0])
            raise IsiOverflow(
                "gap before the event is longer than the interval register holds (us)", where=f"stimulus event {index}",
                used=float(gaps[index]), limit=limit, fix="Ask for a larger isi_base (a coarser unit), or split the run.",
            )  # fmt: skip
        events = np.zeros(times.size, dtype=EVENT_DTYPE)
        events["isi"] = isi
        tops = _column_limits(chip)
        for name, given in (("chip", chips), ("core_mask", core_masks), ("tag", tags)):
            events[name] = _column(name, given, times.size, tops[name])
        return cls(chip, events, isi_base=base)

    @property
    def poisson_played_hz(self) -> FloatArray:
        """Rate that each Poisson source really has: the FPGA truncates to its step."""
        step = self.chip.poisson.step_hz
        return np.asarray(np.floor(self.poisson_rates_hz / step + _STEP_TOLERANCE) * step, dtype=np.float64)

    @property
    def unit_us(self) -> float:
        """Resolution of the list's times (us)."""
        return self.isi_base * 1e6 / self.chip.stimulus.clock_hz

    def played_us(self, times_us: FloatArray) -> FloatArray:
        """Wished times as this list plays them: rounded to its unit."""
        ticks_per_us = self.chip.stimulus.clock_hz / 1e6
        return np.asarray(np.rint(times_us * (ticks_per_us / self.isi_base)) * (self.isi_base / ticks_per_us), dtype=np.float64)

    @property
    def ticks(self) -> IntArray:
        """Time of each event since the start of the run, in ticks of the FPGA's clock: exact."""
        return np.asarray(np.cumsum(self.events["isi"].astype(np.int64)) * self.isi_base, dtype=np.int64)

    @property
    def times_us(self) -> FloatArray:
        """Time of each event since the start of the run (us), as the FPGA will play it."""
        return np.asarray(self.ticks * (1e6 / self.chip.stimulus.clock_hz), dtype=np.float64)

    def check_run(self, chips: tuple[int, ...], duration_us: int, running: str = "configured") -> None:
        """Refuse a list that a run cannot play.

        Args:
            chips: ids of the chips that run.
            running: the word for them in the error.

        Raises:
            StimulusProblem: an event for another chip, for no core, or after the run.
        """
        elsewhere = np.flatnonzero(~np.isin(self.events["chip"], chips))
        if elsewhere.size:
            where, used = f"stimulus event {elsewhere[0]}", f"chip {self.events['chip'][elsewhere[0]]}"
            raise StimulusProblem(f"targets a chip that is not {running}", where=where, used=used, limit=f"chips {chips}")
        nowhere = np.flatnonzero(self.events["core_mask"] == 0)
        if nowhere.size:
            where, fix = f"stimulus event {nowhere[0]}", "Set the core mask."
            raise StimulusProblem("reaches no core", where=where, used="core mask 0", fix=fix)
        if len(self.events) and int(self.ticks[-1]) >= round(self.chip.stimulus.clock_hz * 1e-6 * duration_us):
            last_us, where = float(self.times_us[-1]), f"stimulus event {len(self.events) - 1}"
            what, fix = "stimulus goes on after the run (us)", "Run longer."
            raise StimulusProblem(what, where=where, used=last_us, limit=duration_us, fix=fix)

    @property
    def sha256(self) -> str:
        """Hash of everything that is played: events, unit, Poisson rates and where they go."""
        head = (self.chip.name, self.isi_base, self.poisson_chip, self.poisson_core_mask, len(self.events))
        content = repr(head).encode() + self.events.tobytes() + self.poisson_rates_hz.tobytes()
        return hashlib.sha256(content).hexdigest()

    def words(self) -> IntArray:
        """The 16-bit event words; the interval follows each as a second word."""
        tag = self.events["tag"].astype(np.int64)
        neurons = self.chip.geometry.neurons
        return self.chip.words["stimulus"].pack(
            chip=self.events["chip"],
            source_core=tag // neurons,
            source_neuron=tag % neurons,
            core_mask=self.events["core_mask"],
        )

    def save(self, path: Path | str) -> None:
        """Write the stimulus as HDF5."""
        path = Path(path)
        with h5_files.h5_written_whole(path, _KIND, _VERSION) as file:
            write_chip(file.attrs, self.chip)
            file.attrs["isi_base"] = self.isi_base
            file.attrs["poisson_chip"] = self.poisson_chip
            file.attrs["poisson_core_mask"] = self.poisson_core_mask
            file.create_dataset("events", data=self.events)
            file.create_dataset("poisson_rates_hz", data=self.poisson_rates_hz)

    @classmethod
    def load(cls, path: Path | str) -> Stimulus:
        """Read a stimulus.

        Raises:
            FileProblem, CorruptFile, ForeignFile: the file is missing, damaged or something else.
            StimulusProblem: its content breaks a limit.
        """
        path = Path(path)
        with h5_files.h5_read(path, _KIND, _VERSION) as file:
            attrs = file.attrs
            return cls(
                read_chip(attrs, path),
                h5_files.array_of(file, "events", EVENT_DTYPE),
                int(attrs["isi_base"]),
                h5_files.array_of(file, "poisson_rates_hz", np.float64),
                int(attrs["poisson_chip"]),
                int(attrs["poisson_core_mask"]),
            )


def _check_times(chip: ChipModel, times: FloatArray) -> None:
    if times.ndim != 1:
        raise InvalidValue("times must be one-dimensional", where="stimulus", used=times.shape)
    if times.size > chip.stimulus.max_events:
        raise _too_long(chip, times.size)
    bad = np.flatnonzero(~(np.isfinite(times) & (times >= 0)))
    if bad.size:
        where, used = f"stimulus event {bad[0]}", float(times[bad[0]])
        raise StimulusOrder("times must be finite and not negative", where=where, used=used)
    backward = np.flatnonzero(np.diff(times) < 0)
    if backward.size:
        index = int(backward[0]) + 1
        at_least, where = f"at least {times[index - 1]} us", f"stimulus event {index}"
        raise StimulusOrder("times must be sorted", where=where, used=float(times[index]), limit=at_least, fix="Sort them.")


def _check_isi_base(chip: ChipModel, isi_base: int) -> None:
    if not 0 < isi_base <= chip.stimulus.max_isi_base:
        raise StimulusProblem("isi_base out of range", where="stimulus", used=isi_base, limit=chip.stimulus.max_isi_base)


def _column_limits(chip: ChipModel) -> dict[str, int]:
    """Largest value of each column of a stimulus."""
    g, limits = chip.geometry, chip.stimulus
    return {"isi": limits.max_isi, "chip": g.chips - 1, "core_mask": 2**g.cores - 1, "tag": limits.sources - 1}


def _column(name: str, given: npt.ArrayLike, count: int, top: int) -> npt.NDArray[Any]:
    """One value for all events, or one each; whole numbers from 0 to `top`."""
    column = np.asarray(given)
    if column.shape not in ((), (count,)):
        raise InvalidValue(f"one {name} per event is needed", where="stimulus", used=column.shape, limit=(count,))
    values = np.atleast_1d(column)
    if values.dtype.kind not in "iu":
        whole = np.array([float(v).is_integer() for v in values.tolist()], dtype=bool)
        if not whole.all():
            index = int(np.flatnonzero(~whole)[0])
            raise StimulusProblem(f"{name} must be a whole number", where=f"stimulus event {index}", used=values[index])
    bad = np.flatnonzero((values < 0) | (values > top))
    if bad.size:
        raise StimulusProblem(f"{name} out of range", where=f"stimulus event {bad[0]}", used=int(values[bad[0]]), limit=top)
    return column


def _too_long(chip: ChipModel, events: int) -> StimulusTooLong:
    limit, fix = chip.stimulus.max_events, "Present it in several runs."
    return StimulusTooLong("more events than the stimulus memory holds", where="stimulus", used=events, limit=limit, fix=fix)


def load_stimulus(chip: ChipModel, path: Path, isi_base: int | None = None) -> Stimulus:
    """A stimulus from HDF5 (`Stimulus.save`) or from CSV with the columns time_us, chip, core_mask, tag.

    Raises:
        FileProblem, CorruptFile, ForeignFile: missing, damaged, or for another chip.
        StimulusProblem: its content breaks a limit.
    """
    if path.suffix != ".csv":
        stimulus = Stimulus.load(path)
        if stimulus.chip != chip:
            raise ForeignFile("is a stimulus for another chip", where=str(path), used=stimulus.chip.name, limit=chip.name)
        return stimulus
    lines = [(number, line) for number, line in enumerate(files.read_text(path).splitlines(), start=1) if line.strip()]
    header = lines[0][1] if lines else "nothing"
    if [c.strip() for c in header.split(",")] != ["time_us", "chip", "core_mask", "tag"]:
        raise CorruptFile("first line must be time_us,chip,core_mask,tag", where=str(path), used=header)
    rows: list[list[Any]] = []
    for number, line in lines[1:]:
        try:
            time_us, chip_id, mask, tag = line.split(",")
            rows.append([float(time_us), int(chip_id), int(mask), int(tag)])
        except ValueError:
            raise CorruptFile("is not four numbers", where=f"{path} line {number}", used=line) from None
    times, chips, masks, tags = (np.array([row[k] for row in rows]) for k in range(4))
    return Stimulus.from_times(chip, times.astype(np.float64), chips, masks, tags, isi_base)
