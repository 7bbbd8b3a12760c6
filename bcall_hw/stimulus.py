"""Stimulus: what the FPGA plays into the chips, as register values, within the FPGA's own limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bcall_hw import files
from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.errors import CorruptFile, ForeignFile, InvalidValue, IsiOverflow, StimulusOrder, StimulusProblem, StimulusTooLong

EVENT_DTYPE = np.dtype([("isi", "<u2"), ("chip", "u1"), ("core_mask", "u1"), ("tag", "<u2")])
_KIND, _VERSION = "stimulus", 1


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
        limits, geometry = self.chip.stimulus, self.chip.geometry
        if len(self.events) > limits.max_events:
            raise _too_long(self.chip, len(self.events))
        if not 0 < self.isi_base <= limits.max_isi_base:
            raise StimulusProblem("isi_base out of range", where="stimulus", used=self.isi_base, limit=limits.max_isi_base)
        if self.events.dtype != EVENT_DTYPE:
            raise InvalidValue("events have another dtype", where="stimulus", used=self.events.dtype, limit=EVENT_DTYPE)
        tops = {
            "chip": geometry.chips - 1,
            "core_mask": 2**geometry.cores - 1,
            "tag": limits.sources - 1,
            "isi": limits.max_isi,
        }
        for name, top in tops.items():
            column = self.events[name]
            if column.size and int(column.max()) > top:
                index = int(np.argmax(column))
                raise StimulusProblem(
                    f"{name} out of range", where=f"stimulus event {index}", used=int(column[index]), limit=top
                )
        self._check_poisson()
        self.events.setflags(write=False)
        self.poisson_rates_hz.setflags(write=False)

    def _check_poisson(self) -> None:
        rates, limits, geometry = self.poisson_rates_hz, self.chip.poisson, self.chip.geometry
        if rates.size > self.chip.stimulus.sources:
            used, limit = rates.size, self.chip.stimulus.sources
            raise StimulusProblem("more Poisson sources than the board has", where="stimulus", used=used, limit=limit)
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

        Times become multiples of isi_base / clock, rounded to nearest. With `isi_base` None the finest unit of at least
        one microsecond is taken that holds the longest gap.

        Raises:
            StimulusOrder: times not sorted, negative or not finite.
            IsiOverflow: a gap that no unit, or the given one, can hold.
            StimulusTooLong, StimulusProblem: see the class.
        """
        times = np.asarray(times_us, dtype=np.float64)
        if times.ndim != 1:
            raise InvalidValue("times must be one-dimensional", where="stimulus", used=times.shape)
        if times.size > chip.stimulus.max_events:
            raise _too_long(chip, times.size)
        if not np.all(np.isfinite(times)) or (times.size and times[0] < 0):
            raise StimulusOrder("times must be finite and not negative", where="stimulus")
        backward = np.flatnonzero(np.diff(times) < 0)
        if backward.size:
            index = int(backward[0]) + 1
            at_least, where = f"at least {times[index - 1]} us", f"stimulus event {index}"
            raise StimulusOrder("times must be sorted", where=where, used=float(times[index]), limit=at_least, fix="Sort them.")
        ticks_per_us = chip.stimulus.clock_hz / 1e6
        gaps = np.diff(times, prepend=0.0)
        longest = float(gaps.max(initial=0.0))
        finest = max(round(ticks_per_us), int(np.ceil((longest + 1.0) * ticks_per_us / chip.stimulus.max_isi)))
        base = finest if isi_base is None else isi_base
        units = np.rint(times * ticks_per_us / base).astype(np.int64)
        isi = np.diff(units, prepend=0)
        too_long = np.flatnonzero(isi > chip.stimulus.max_isi)
        if too_long.size or base > chip.stimulus.max_isi_base:
            index = int(too_long[0]) if too_long.size else int(np.argmax(gaps))
            limit = chip.stimulus.max_isi * min(base, chip.stimulus.max_isi_base) / ticks_per_us
            raise IsiOverflow(
                "gap before the event is longer than the interval register holds (us)",
                where=f"stimulus event {index}",
                used=float(gaps[index]),
                limit=limit,
                fix="Choose a larger isi_base or split the run.",
            )
        events = np.zeros(times.size, dtype=EVENT_DTYPE)
        events["isi"] = isi
        for name, given in (("chip", chips), ("core_mask", core_masks), ("tag", tags)):
            column = np.asarray(given)
            top = int(np.iinfo(EVENT_DTYPE[name]).max)
            if column.size and (int(column.min()) < 0 or int(column.max()) > top):
                raise StimulusProblem(f"{name} out of range", where="stimulus", used=int(column.max()), limit=top)
            events[name] = column
        return cls(chip, events, isi_base=base)

    @property
    def ticks(self) -> IntArray:
        """Time of each event since the start of the run, in ticks of the FPGA's clock: exact."""
        return np.asarray(np.cumsum(self.events["isi"].astype(np.int64)) * self.isi_base, dtype=np.int64)

    @property
    def times_us(self) -> FloatArray:
        """Time of each event since the start of the run (us), as the FPGA will play it."""
        return np.asarray(self.ticks * (1e6 / self.chip.stimulus.clock_hz), dtype=np.float64)

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

    def save(self, path: Path) -> None:
        """Write the stimulus as HDF5."""
        with files.h5_written_whole(path, _KIND, _VERSION) as file:
            file.attrs["chip"] = self.chip.name
            file.attrs["isi_base"] = self.isi_base
            file.attrs["poisson_chip"] = self.poisson_chip
            file.attrs["poisson_core_mask"] = self.poisson_core_mask
            file.create_dataset("events", data=self.events)
            file.create_dataset("poisson_rates_hz", data=self.poisson_rates_hz)

    @classmethod
    def load(cls, path: Path) -> Stimulus:
        """Read a stimulus.

        Raises:
            FileProblem, CorruptFile, ForeignFile: the file is missing, damaged or something else.
            StimulusProblem: its content breaks a limit.
        """
        with files.h5_read(path, _KIND, _VERSION) as file:
            attrs = file.attrs
            return cls(
                load_chip(str(attrs["chip"])),
                files.array_of(file, "events", EVENT_DTYPE),
                int(attrs["isi_base"]),
                files.array_of(file, "poisson_rates_hz", np.float64),
                int(attrs["poisson_chip"]),
                int(attrs["poisson_core_mask"]),
            )


def _too_long(chip: ChipModel, events: int) -> StimulusTooLong:
    limit, fix = chip.stimulus.max_events, "Present it in several runs."
    return StimulusTooLong("more events than the stimulus memory holds", where="stimulus", used=events, limit=limit, fix=fix)


def load_stimulus(chip: ChipModel, path: Path) -> Stimulus:
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
    lines = [line for line in files.read_text(path).splitlines() if line.strip()]
    if not lines or [c.strip() for c in lines[0].split(",")] != ["time_us", "chip", "core_mask", "tag"]:
        raise CorruptFile(
            "first line must be time_us,chip,core_mask,tag", where=str(path), used=lines[0] if lines else "nothing"
        )
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            time_us, *rest = line.split(",")
            chip_id, mask, tag = (int(cell) for cell in rest)
            rows.append((float(time_us), chip_id, mask, tag))
        except ValueError:
            raise CorruptFile("is not four numbers", where=f"{path} line {number}", used=line) from None
    columns = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    return Stimulus.from_times(chip, columns[0], *columns[1:].astype(np.int64))
