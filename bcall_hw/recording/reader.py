"""Reading a session's file, ended or cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bcall_hw import h5_files
from bcall_hw.arrays import IntArray
from bcall_hw.chip_model import ChipModel, read_chip
from bcall_hw.errors import InvalidValue, StimulusProblem
from bcall_hw.recording import layout
from bcall_hw.recording.made import Made
from bcall_hw.recording.session import Applied, Learned, Run, Session
from bcall_hw.recording.spikes import NOTED, SpikeRecording
from bcall_hw.stimulus import Stimulus

if TYPE_CHECKING:
    import h5py

_Table = npt.NDArray[Any]


def read_session(path: Path) -> Session:
    """See `Session.load`."""
    with h5_files.h5_read(path, layout.KIND, layout.VERSION, growing=True) as file:
        try:
            return _session(file, path)
        except (InvalidValue, StimulusProblem, IndexError, AttributeError) as problem:
            raise ValueError(str(problem)) from None  # h5_read makes it a CorruptFile


def _session(file: h5py.File, path: Path) -> Session:
    ended = "complete" in file.attrs
    complete = bool(file.attrs["complete"]) if ended else False
    made = Made.model_validate_json(file["made"][()])
    chip = read_chip(file.attrs, path) if "chip" in file.attrs else None
    tables = {name: h5_files.array_of(file, name, dtype) for name, (dtype, _) in layout.TABLES.items()}
    runs, notes = _runs(tables, made)
    if not ended:
        notes.append("the recording was cut: it holds what had reached the disk")
    elif not complete:
        notes.append("the recording was broken off")
    steps = [(layout.STEP_KINDS[row["what"]], int(row["index"])) for row in tables["steps"]]
    steps = [(what, index) for what, index in steps if what != "run" or index in runs]
    place = {index: number for number, index in enumerate(runs)}
    in_order = tuple((what, place[index] if what == "run" else index) for what, index in steps)
    applied = _applied(tables, chip)
    for what, index in in_order:
        if what == "apply" and index >= len(applied):
            raise ValueError(f"step leads to registers {index}, and there are {len(applied)}")
    stimuli = tuple(_stimuli(tables, chip))
    for run in runs.values():
        if run.config >= len(applied) or run.stimulus >= len(stimuli):
            raise ValueError("a run leads to registers or a stimulus that are not there")
    found = tuple(runs.values())
    return Session(
        made, chip, _populations(file), in_order, found, applied, stimuli, _learned(file), ended and complete, tuple(notes)
    )


def _runs(tables: dict[str, _Table], made: Made) -> tuple[dict[int, Run], list[str]]:
    runs, notes, spikes = dict[int, Run](), list[str](), tables["spikes"]
    spikes.setflags(write=False)
    for index, row in enumerate(tables["runs"]):
        first, count, reached = int(row["first_spike"]), int(row["spikes"]), int(row["reached_us"])
        if not 0 <= first <= first + count <= len(spikes) or not 0 <= reached <= int(row["duration_us"]):
            raise ValueError(f"run {index} leads to spikes that are not there")
        mine = spikes[first : first + count]
        if count and not (np.all(np.diff(mine["time_us"]) >= 0) and 0 <= mine["time_us"][0] <= mine["time_us"][-1] <= reached):
            raise ValueError(f"run {index} has spikes out of order or outside it")
        if not row["complete"]:
            notes.append(f"run {index} was cut at {reached * 1e-6:g} of {int(row['duration_us']) * 1e-6:g} s")
            if not reached:
                continue
        noted = {name: int(row[name]) for name in NOTED if row[name] >= 0}
        recording = SpikeRecording(mine, reached, made.backend, made.seed, made.version, made.board, noted)
        kind = layout.RUN_KINDS[row["kind"]]
        runs[index] = Run(recording, kind, int(row["config"]), int(row["stimulus"]), bool(row["complete"]))
    return runs, notes


def _applied(tables: dict[str, _Table], chip: ChipModel | None) -> tuple[Applied, ...]:
    found = []
    for row in tables["applied"]:
        if chip is None:
            raise ValueError("registers without a chip model")
        first, count = int(row["first_word"]), int(row["words"])
        if not 0 <= first <= first + count <= len(tables["words"]):
            raise ValueError("registers lead to words that are not there")
        chips = tuple(number for number in range(32) if int(row["chips"]) >> number & 1)
        words = tables["words"][first : first + count]
        found.append(Applied(chips, words, bool(row["fresh"]), int(row["written"])))
    if found and not found[0].fresh:
        raise ValueError("the first registers do not say where they begin")
    return tuple(found)


def _stimuli(tables: dict[str, _Table], chip: ChipModel | None) -> list[Stimulus]:
    found = []
    for row in tables["stimuli"]:
        if chip is None:
            raise ValueError("a stimulus without a chip model")
        events = tables["events"][int(row["first_event"]) :][: int(row["events"])]
        rates = tables["poisson_rates_hz"][int(row["first_rate"]) :][: int(row["rates"])]
        if len(events) != row["events"] or len(rates) != row["rates"]:
            raise ValueError("a stimulus leads to events that are not there")
        numbers = (int(row[name]) for name in ("isi_base", "poisson_chip", "poisson_core_mask"))
        isi_base, poisson_chip, mask = numbers
        found.append(Stimulus(chip, events, isi_base, rates, poisson_chip, mask))
    return found


def _populations(file: h5py.File) -> dict[str, IntArray]:
    tables = [file["populations"][str(number)] for number in range(len(file["populations"]))]
    return {str(table.attrs["name"]): np.asarray(table[...], dtype=np.int64).reshape(-1, 3) for table in tables}


def _learned(file: h5py.File) -> dict[str, Learned]:
    if "learned" not in file:
        return {}
    groups = [file["learned"][str(number)] for number in range(len(file["learned"]))]
    return {
        str(group.attrs["connection"]): Learned(
            h5_files.array_of(group, "sources", np.int64), h5_files.array_of(group, "efficacy", bool),
            h5_files.array_of(group, "hidden", np.float64),
        )
        for group in groups
    }  # fmt: skip
