"""One run of a configuration on virtual boards, as `bcall-hw emulate` does it: stimulus from a file, figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bcall_hw import files
from bcall_hw.backend.emulator.boards import Report, run_boards
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import CorruptFile, InvalidValue
from bcall_hw.mapper import MappedNetwork
from bcall_hw.recording import SpikeRecording
from bcall_hw.stimulus import Stimulus, load_stimulus

_TRAINS_HEADER = "time_us,input,source"


def emulate_boards(
    config: ChipConfig,
    mapped: MappedNetwork | None,
    profiles: Sequence[BoardProfile],
    path: Path,
    duration_s: float,
    isi_base: int | None,
    options: Mapping[str, Any],
    threads: int | None,
    report: Report,
) -> tuple[list[SpikeRecording], dict[str, Any]]:
    """Apply, play, record, on one virtual board or on several at once.

    Args:
        mapped: the network where it is known: the stimulus may then name inputs, and rates are told by population.
        profiles: the boards.
        path: stimulus file.
        options: implementation, dt_us and pulses of the emulators.

    Returns:
        The recordings, and their figures as plain values; of several boards also one by one.
    """
    played = _stimulus(config, mapped, path, isi_base)
    boards = [Emulator(config.chip, config.chips, profile, **options) for profile in profiles]
    for board in boards:
        board.apply(config)
    if len(boards) == 1:
        recordings = [boards[0].run(played, duration_s, lambda done, total: report("steps", done, total))]
    else:
        recordings = run_boards(boards, played, duration_s, threads, report)
    one_by_one = [_figures_of(recording, mapped) for recording in recordings]
    result: dict[str, Any] = {
        "backend": boards[0].name, "duration_s": duration_s, "events_in": len(played.events),
        "stimulus_unit_us": played.unit_us,
        "warnings": boards[0].warnings + stimulus_warnings(config, played), **one_by_one[0],
    }  # fmt: skip
    if len(boards) > 1:
        result["boards"] = one_by_one
    return recordings, result


def _figures_of(recording: SpikeRecording, mapped: MappedNetwork | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "seed": recording.seed, "spikes": len(recording),
        "neurons_that_fired": len(np.unique(recording.spikes[["chip", "core", "neuron"]])),
        "spikes_sha256": recording.sha256,
    }  # fmt: skip
    if mapped is not None:
        seconds = recording.duration_us * 1e-6
        result["populations"] = {
            name: {"spikes": len(ids), "mean_rate_hz": len(ids) / len(mapped.addresses[name]) / seconds}
            for name, (ids, _) in mapped.spikes_of(recording).items()
        }
    return result


def stimulus_warnings(config: ChipConfig, played: Stimulus) -> list[str]:
    """Events that no CAM entry of their cores hears, and events under a tag that every cleared entry hears."""
    chip, g = config.chip, config.chip.geometry
    tag = config.cam["source_core"].astype(np.int64) * g.neurons + config.cam["source_neuron"]
    heard = np.zeros((g.chips, g.cores, chip.tags_per_core), dtype=bool)
    for index, chip_id in enumerate(config.chips):
        for core in range(g.cores):
            heard[chip_id, core, tag[index, core].ravel()] = True
    events = played.events
    mask = (events["core_mask"][:, None] >> np.arange(g.cores)) & 1 == 1
    deaf = ~(heard[events["chip"], :, events["tag"]] & mask).any(axis=1)
    reserved = np.isin(events["tag"], sorted(chip.reserved_tags))
    found = []
    if deaf.any():
        tags = sorted(set(events["tag"][deaf].tolist()))
        found.append(f"{int(deaf.sum())} events reach no CAM entry (tags {tags[:5]}{' ...' if len(tags) > 5 else ''})")
    if reserved.any():
        found.append(f"{int(reserved.sum())} events use a reserved tag, which every unused CAM entry hears")
    return found


def _stimulus(config: ChipConfig, mapped: MappedNetwork | None, path: Path, isi_base: int | None) -> Stimulus:
    if path.suffix != ".csv" or files.read_text(path).split("\n", 1)[0].replace(" ", "").strip() != _TRAINS_HEADER:
        return load_stimulus(config.chip, path, isi_base)
    if mapped is None:
        fix = "Give the network file instead of the registers, or a CSV with time_us,chip,core_mask,tag."
        raise InvalidValue("names inputs, and registers do not know them", where=str(path), fix=fix)
    trains: dict[str, tuple[list[int], list[float]]] = {}
    for number, line in enumerate(files.read_text(path).splitlines()[1:], start=2):
        if not line.strip():
            continue
        try:
            time_us, name, source = (cell.strip() for cell in line.split(","))
            ids, times = trains.setdefault(name, ([], []))
            ids.append(int(source))
            times.append(float(time_us))
        except ValueError:
            raise CorruptFile("is not a time, an input and a source", where=f"{path} line {number}", used=line) from None
    return mapped.stimulus({name: (np.array(ids), np.array(times)) for name, (ids, times) in trains.items()})
