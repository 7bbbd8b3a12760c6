"""One run of a configuration on virtual boards, as `bcall-hw emulate` does it: stimulus from a file, figures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bcall_hw import files
from bcall_hw.backend.emulator.boards import Report, in_threads
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.engine import StepReport
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.backend.emulator.routing import effective_tags
from bcall_hw.calibration import check_board
from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import CorruptFile, InvalidValue
from bcall_hw.mapper import MappedNetwork
from bcall_hw.record import write_run
from bcall_hw.recording import SpikeRecording
from bcall_hw.stimulus import Stimulus, load_stimulus

_TRAINS_HEADER = "time_us,input,source"


def emulate_boards(
    config: ChipConfig,
    mapped: MappedNetwork | None,
    profiles: Sequence[BoardProfile],
    path: Path | None,
    rates_hz: Mapping[str, float],
    duration_s: float,
    isi_base: int | None,
    options: Mapping[str, Any],
    threads: int | None,
    report: Report,
    hidden: bool = False,
    files_out: Sequence[Path] = (),
    source: str = "",
) -> tuple[list[SpikeRecording], dict[str, Any]]:
    """Apply, play, record, on one virtual board or on several at once; a board is opened, run and let go in one thread.

    Args:
        mapped: the network where it is known: the stimulus may then name inputs, and rates are told by population.
        profiles: the boards.
        path: stimulus file, or None.
        rates_hz: of Poisson inputs.
        options: implementation, dt_us and pulses of the emulators.
        hidden: whether the boards' truth is hidden: nobody chose where their defects lie, so that nothing is told of it.

        files_out: for each board a file that takes its session, or none.
        source: name of the network or registers.

    Returns:
        The recordings, and their figures as plain values: of one board beside the rest, of several under `boards`.

    Raises:
        WrongBoard: the network was mapped with the calibration record of another board.
    """
    played = played_stimulus(config, mapped, path, rates_hz, isi_base)

    def job(profile: BoardProfile, file: Path | None) -> Callable[[StepReport], tuple[SpikeRecording, dict[str, Any]]]:
        def run(alive: StepReport) -> tuple[SpikeRecording, dict[str, Any]]:
            board = Emulator(config.chip, config.chips, profile, **options)
            if mapped is not None:
                check_board(mapped.calibration, board.board)
            board.apply(config)
            recording = board.run(played, duration_s, steps if len(profiles) == 1 else alive)
            if file is not None:
                write_run(file, board, config, played, recording, source, mapped)
            found = figures_of(recording, mapped) | {"state_sha256": board.state_sha256()}
            warnings = board.warnings + ([] if hidden else _defect_warnings(profile, config, mapped))
            warnings += stimulus_warnings(config, played, profile)
            return recording, found | {"warnings": warnings, "board": board.describe()}

        return run

    def steps(done: int, total: int) -> None:
        report("steps", done, total)

    taking: Sequence[Path | None] = files_out or [None] * len(profiles)
    jobs = [job(profile, file) for profile, file in zip(profiles, taking, strict=True)]
    found = [jobs[0](steps)] if len(jobs) == 1 else in_threads(jobs, threads, report)
    first, *_ = [one.pop("board") for _, one in found]
    result: dict[str, Any] = {
        "backend": first["backend"], "specification": first["specification"], "dt_us": first["dt_us"],
        "pulses": first["pulses"], "profile": first["profile"], "duration_s": duration_s,
        "events_in": len(played.events), "stimulus_unit_us": played.unit_us,
    }  # fmt: skip
    recordings = [recording for recording, _ in found]
    if len(found) == 1:
        return recordings, result | found[0][1]
    warnings = list(dict.fromkeys(warning for _, one in found for warning in one.pop("warnings")))
    return recordings, result | {"warnings": warnings, "boards": [one for _, one in found]}


def played_stimulus(
    config: ChipConfig, mapped: MappedNetwork | None, path: Path | None, rates_hz: Mapping[str, float], isi_base: int | None
) -> Stimulus:
    """What a stimulus file and rates of Poisson inputs come to; see `emulate_boards`."""
    played = Stimulus(config.chip) if path is None else _stimulus(config, mapped, path, isi_base)
    return _with_poisson(played, mapped, rates_hz) if rates_hz else played


def _defect_warnings(profile: BoardProfile, config: ChipConfig, mapped: MappedNetwork | None) -> list[str]:
    """Defects that this run cannot show: on chips that are not emulated, or on neurons that no population uses."""
    places = [tuple(at[:3]) for at in (*profile.dead_neurons, *profile.dead_cam, *profile.stuck_tag_bits)]
    elsewhere = sum(chip not in config.chips for chip, *_ in places)
    found = [f"{elsewhere} of {len(places)} defects lie on chips that are not emulated"] if elsewhere else []
    if mapped is not None:
        used = {tuple(at) for addresses in mapped.addresses.values() for at in addresses.tolist()}
        avoided = {
            tuple(at[:3]) for at in (*mapped.defects.dead_neurons, *mapped.defects.dead_cam, *mapped.defects.stuck_tag_bits)
        }
        idle = sum(at not in used and at not in avoided for at in places if at[0] in config.chips)
        if idle:
            found.append(f"{idle} of {len(places)} defects lie on neurons that no population uses")
    return found


def figures_of(recording: SpikeRecording, mapped: MappedNetwork | None) -> dict[str, Any]:
    """Spikes, hash, and rates by population where the network is known, as plain values."""
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


def stimulus_warnings(config: ChipConfig, played: Stimulus, profile: BoardProfile) -> list[str]:
    """Events that no CAM entry of their cores hears, and events under a tag that every cleared entry hears."""
    chip, g = config.chip, config.chip.geometry
    tag = effective_tags(config, profile)
    heard = np.zeros((g.chips, g.cores, chip.tags_per_core + 1), dtype=bool)  # one more: what dead entries hear
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


def _with_poisson(played: Stimulus, mapped: MappedNetwork | None, rates_hz: Mapping[str, float]) -> Stimulus:
    """A stimulus with Poisson inputs of the network beside its list."""
    if mapped is None:
        fix = "Give the network file instead of the registers."
        raise InvalidValue("names an input, and registers do not know it", where="--rate", used=", ".join(rates_hz), fix=fix)
    if np.any(played.poisson_rates_hz > 0):
        fix = "Leave --rate out, or give another stimulus."
        raise InvalidValue("the stimulus has Poisson rates of its own", where="--rate", used=", ".join(rates_hz), fix=fix)
    poisson = mapped.stimulus({}, rates_hz=rates_hz)
    return replace(
        played, poisson_rates_hz=poisson.poisson_rates_hz, poisson_chip=poisson.poisson_chip,
        poisson_core_mask=poisson.poisson_core_mask,
    )  # fmt: skip


def _stimulus(config: ChipConfig, mapped: MappedNetwork | None, path: Path, isi_base: int | None) -> Stimulus:
    if isi_base is not None and path.suffix != ".csv":
        raise InvalidValue("is for .csv stimuli; this one has its own unit", where="--isi-base", used=isi_base)
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
    return mapped.stimulus({name: (np.array(ids), np.array(times)) for name, (ids, times) in trains.items()}, isi_base)
