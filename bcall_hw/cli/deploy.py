"""bcall-hw deploy: registers onto a backend, proved by read-back, and a stimulus played on them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bcall_hw.backend.emulator.words import DEFAULT_STEP_US
from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.cli import show
from bcall_hw.cli.inputs import board_profile, open_board, poisson_rates, refuse_for_real, refuse_overwriting, source_of
from bcall_hw.cli.shared import (
    AsJson,
    Chip,
    MaybeBoardSeed,
    MaybeCalibration,
    MaybeChips,
    MaybeFanIn,
    MaybeMismatch,
    MaybeSeed,
    Profile,
    notes,
)
from bcall_hw.errors import InvalidValue


def deploy(
    source: Annotated[Path, typer.Argument(help="Registers (.h5), or a network (.json, .toml) to map first.")],
    backend: Annotated[
        str, typer.Option(help="emulator, samna:auto, samna:<serial>, samna:virtual or replay:<file>.")
    ] = "emulator",
    stimulus: Annotated[Path | None, typer.Option(help="Play this stimulus (.h5 or .csv) after it.")] = None,
    rate: Annotated[
        list[str] | None, typer.Option(help="Rate of the sources of a Poisson input after it: input=Hz; may be repeated.")
    ] = None,
    duration_s: Annotated[float | None, typer.Option(help="Length of that run (s).")] = None,
    isi_base: Annotated[int | None, typer.Option(help="Clock ticks per unit of time of a .csv stimulus.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the spikes of that run to this file (.h5).")] = None,
    debounce_us: Annotated[
        int | None, typer.Option(help="Leave out a spike that follows one of its neuron by less (us); samna alone.")
    ] = None,
    max_spikes: Annotated[int | None, typer.Option(help="More spikes in the run are an error; samna alone.")] = None,
    words: Annotated[
        Path | None, typer.Option(help="Write the words that are sent, in human terms, to this file; - is standard error.")
    ] = None,
    chip: Chip = DEFAULT_CHIP,
    chips: MaybeChips = None,
    fan_in: MaybeFanIn = None,
    calibration: MaybeCalibration = None,
    profile: Profile = None,
    seed: MaybeSeed = None,
    mismatch_cv: MaybeMismatch = None,
    board_seed: MaybeBoardSeed = None,
    as_json: AsJson = False,
) -> None:
    """Write a configuration to a backend, prove by read-back that it arrived, and play a stimulus on it."""
    from bcall_hw import files
    from bcall_hw.calibration import check_board
    from bcall_hw.deploy import deploy as write
    from bcall_hw.experiments.emulation import figures_of, played_stimulus, stimulus_warnings
    from bcall_hw.record import write_run
    from bcall_hw.word_lines import word_lines

    rates = poisson_rates(rate or [])
    _check_run(stimulus, rates, duration_s, out)
    refuse_overwriting(out, *(given for given in (source, stimulus, profile, calibration) if given is not None))
    for file in (out, words):
        if file is not None and file != Path("-"):
            files.check_writable(file)
    refuse_for_real(backend, seed=seed, mismatch_cv=mismatch_cv, board_seed=board_seed)
    board = board_profile(profile, seed, mismatch_cv, board_seed, chip)
    # What is hidden of a board is hidden from the mapper too: it knows what the record says.
    config, mapped = source_of(source, chip, chips, fan_in, calibration, board if board_seed is None else None)
    played = None if duration_s is None else played_stimulus(config, mapped, stimulus, rates, isi_base)
    given = (("debounce_us", debounce_us), ("max_spikes", max_spikes))
    options = {name: value for name, value in given if value is not None}
    with notes.status(f"opening {backend}") as status:
        opened = open_board(backend, config, board, "numba", DEFAULT_STEP_US, of_samna=options)
        try:
            if mapped is not None:
                check_board(mapped.calibration, opened.board, f"--calibration {calibration}")
            status.update("writing registers")
            if words is not None:
                text = "".join(f"{line}\n" for line in word_lines(config.chip, opened.preview(config)))
                sys.stderr.write(text) if words == Path("-") else files.write_text(words, text)
            result = write(config, opened)
            if played is not None and duration_s is not None:
                status.update(f"running {duration_s:g} s")
                recording = opened.run(played, duration_s)
                result |= figures_of(recording, mapped) | {"duration_s": duration_s}
                if not len(played.events) and not played.poisson_rates_hz.any():
                    result["warnings"].append("nothing was played: neither --stimulus nor --rate")
                warnings = [*result["warnings"], *opened.warnings, *stimulus_warnings(config, played, board)]
                result["warnings"] = list(dict.fromkeys(warnings))
                if out is not None:
                    write_run(out, opened, config, played, recording, source.name, mapped)
            result["board"] = opened.describe()
        finally:
            opened.close()
    if as_json:
        print(json.dumps(result))
        return
    _show(result)


def _check_run(stimulus: Path | None, rates: dict[str, float], duration_s: float | None, out: Path | None) -> None:
    for name, given in (("--stimulus", stimulus), ("--rate", rates or None), ("--out", out)):
        if given is not None and duration_s is None:
            raise InvalidValue("needs the length of a run", where=name, used=str(given)[:80], fix="Give --duration-s.")


def _show(result: dict[str, Any]) -> None:
    written, image = result.pop("written"), result.pop("words")
    words = {f"{kind} words: written, of image": f"{written[kind]:,} of {image[kind]:,}" for kind in image}
    rates = {f"{name}: rate (Hz)": p["mean_rate_hz"] for name, p in result.pop("populations", {}).items()}
    warnings, board = result.pop("warnings"), result.pop("board")
    serial = {"serial number": board["board"]["serial_number"]} if "board" in board else {}
    left_out = {f"spikes left out: {why}": count for why, count in board.get("left_out", {}).items() if count}
    result.pop("seed", None)
    show.figures("deployed", serial | result | left_out | words | rates)
    show.warnings(warnings)
