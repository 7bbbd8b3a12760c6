"""bcall-hw emulate: registers and stimulus in, spikes out, on one virtual board or on many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bcall_hw.backend.emulator.words import DEFAULT_STEP_US
from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.cli import show
from bcall_hw.cli.inputs import board_profile, poisson_rates, refuse_overwriting, source_of
from bcall_hw.cli.shared import (
    AsJson,
    Chip,
    Implementation,
    MaybeBoardSeed,
    MaybeCalibration,
    MaybeChips,
    MaybeFanIn,
    MaybeMismatch,
    MaybeSeed,
    Profile,
    Pulses,
    StepUs,
    progress_bars,
)
from bcall_hw.errors import InvalidValue
from bcall_hw.random_bits import MAX_SEED

#: Entries of a part of a board profile that the table shows.
_MOST_SHOWN = 8


def emulate(
    source: Annotated[Path, typer.Argument(help="Registers (.h5), or a network (.json, .toml) to map first.")],
    duration_s: Annotated[float, typer.Option(help="Length of the run (s).")],
    stimulus: Annotated[Path | None, typer.Option(help="Stimulus (.h5 or .csv, see the README).")] = None,
    rate: Annotated[
        list[str] | None, typer.Option(help="Rate of the sources of a Poisson input: input=Hz; may be repeated.")
    ] = None,
    isi_base: Annotated[int | None, typer.Option(help="Clock ticks per unit of time of a .csv stimulus.")] = None,
    chip: Chip = DEFAULT_CHIP,
    chips: MaybeChips = None,
    fan_in: MaybeFanIn = None,
    calibration: MaybeCalibration = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the spikes to this file (.h5); of several boards to FILE-seedN.h5.")
    ] = None,
    seed: MaybeSeed = None,
    mismatch_cv: MaybeMismatch = None,
    profile: Profile = None,
    board_seed: MaybeBoardSeed = None,
    boards: Annotated[int, typer.Option(help="So many boards, with this seed and those after it.", min=1, max=10_000)] = 1,
    threads: Annotated[int | None, typer.Option(help="Boards at once; all processors if not given.", min=1)] = None,
    implementation: Implementation = "numba",
    dt_us: StepUs = DEFAULT_STEP_US,
    pulses: Pulses = "ideal",
    as_json: AsJson = False,
) -> None:
    """Run a configuration on the emulator: registers and stimulus in, spikes out."""
    from bcall_hw.experiments.emulation import emulate_boards

    first = board_profile(profile, seed, mismatch_cv, board_seed, chip)
    if first.seed + boards - 1 > MAX_SEED:
        raise InvalidValue("seeds of the boards go too far", where="--boards", used=boards, limit=MAX_SEED - first.seed + 1)
    if board_seed is None:
        profiles = [first.model_copy(update={"seed": first.seed + k}) for k in range(boards)]
    else:
        profiles = [board_profile(None, None, None, board_seed + k, chip) for k in range(boards)]
    files = [out] if out is None or boards == 1 else [out.with_name(f"{out.stem}-seed{p.seed}{out.suffix}") for p in profiles]
    for file in files:
        refuse_overwriting(file, *(given for given in (source, stimulus, profile, calibration) if given is not None))
    rates = poisson_rates(rate or [])
    if stimulus is None and not rates:
        raise InvalidValue("nothing to play", where="emulate", used="no --stimulus, no --rate", fix="Give one of them.")
    # What is hidden of a board is hidden from the mapper too: it knows what the record says.
    config, mapped = source_of(source, chip, chips, fan_in, calibration, first if board_seed is None else None)
    options = {"implementation": implementation, "dt_us": dt_us, "pulses": pulses}
    with progress_bars(as_json) as report:
        _, result = emulate_boards(
            config, mapped, profiles, stimulus, rates, duration_s, isi_base, options, threads, report,
            hidden=board_seed is not None, files_out=[file for file in files if file is not None], source=source.name,
        )  # fmt: skip
    if as_json:
        print(json.dumps(result))
        return
    _show(result)


def _show(result: dict[str, Any]) -> None:
    several, populations, profile = result.pop("boards", None), result.pop("populations", {}), result.pop("profile")
    warnings = result.pop("warnings")
    board = {f"board: {name}": _short(value) for name, value in profile.items() if value and not (several and name == "seed")}
    result.pop("seed", None)
    show.figures("emulated", result | board | {f"{name}: rate (Hz)": p["mean_rate_hz"] for name, p in populations.items()})
    if several:
        show.boards(several)
    show.warnings(warnings)


def _short(value: Any) -> Any:
    """A part of a profile, or how much there is of it where that fills a screen."""
    return f"{len(value):,} entries (--json has them)" if isinstance(value, list | dict) and len(value) > _MOST_SHOWN else value
