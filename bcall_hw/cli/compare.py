"""bcall-hw compare: two recordings, or backends, against each other; a verdict and a report page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.cli import show_compare
from bcall_hw.cli.inputs import chosen_cores, poisson_rates, source_of
from bcall_hw.cli.record import RestJitter, microseconds
from bcall_hw.cli.shared import AsJson, Chip, MaybeCalibration, progress_bars
from bcall_hw.errors import FileProblem, InvalidValue

if TYPE_CHECKING:
    from bcall_hw.compare.live import Protocol
    from bcall_hw.record import Report
    from bcall_hw.recording.session import Session

#: What a script can act on; 2 is for bad input, as everywhere.
EXIT_CODES = {"equivalent": 0, "different": 1, "not enough data": 3}
_SIDE = "a session's file (.h5), emulator, emulator:seed=3,mismatch_cv=0.05, emulator:profile.toml, samna:..., replay:FILE"


def compare(
    a: Annotated[str, typer.Argument(help=f"One side: {_SIDE}.")],
    b: Annotated[str, typer.Argument(help="The other side.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html, result.json and the sessions of live sides.")] = Path(
        "out/compare"
    ),
    source: Annotated[
        Path | None, typer.Option(help="With two live sides: registers (.h5) or a network (.json, .toml) to play.")
    ] = None,
    stimulus: Annotated[Path | None, typer.Option(help="With two live sides: stimulus (.h5 or .csv).")] = None,
    rate: Annotated[
        list[str] | None, typer.Option(help="With two live sides: rate of a Poisson input: input=Hz; may be repeated.")
    ] = None,
    duration_s: Annotated[float | None, typer.Option(help="With two live sides: length of a repeat (s).")] = None,
    repeats: Annotated[int, typer.Option(help="With two live sides: repeats.", min=1, max=100_000)] = 10,
    rest_s: Annotated[float, typer.Option(help="With two live sides: rest before each repeat (s).")] = 0.3,
    rest_jitter_s: RestJitter = 0.5,
    calibration: MaybeCalibration = None,
    chip: Chip = DEFAULT_CHIP,
    split: Annotated[int, typer.Option(help="Cut each run into so many repeats; for long stationary runs.", min=1)] = 1,
    margin: Annotated[float, typer.Option(help="Distance across / distance within that still counts as equivalent.")] = 1.2,
    alpha: Annotated[float, typer.Option(help="How often equal systems may be called different.")] = 0.01,
    sample: Annotated[int, typer.Option(help="Neurons of each population whose trains are compared pair by pair.")] = 64,
    bin_ms: Annotated[float, typer.Option(help="Bin of spike counts (ms).")] = 50.0,
    window_ms: Annotated[float, typer.Option(help="Window of the spike time tiling coefficient (ms).")] = 5.0,
    cost_hz: Annotated[float, typer.Option(help="Victor-Purpura: cost of moving a spike, per second.")] = 100.0,
    tau_ms: Annotated[float, typer.Option(help="Van Rossum: time constant of the filter (ms).")] = 10.0,
    seed: Annotated[int, typer.Option(help="Seed of samples and permutations.", min=0, max=2**63 - 1)] = 0,
    recover: Annotated[
        str | None, typer.Option(help="Measure the parameters of these cores on both sides, e.g. 0.0,0.1; live or emulated.")
    ] = None,
    no_controls: Annotated[bool, typer.Option("--no-controls", help="Leave the negative controls out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Did the board do what the emulator said? Distances between repeats, a verdict, and a page that shows where.

    A side is a session's file of bcall-hw record, or a backend, which then plays what the other side's session holds. Exit code
    0: equivalent. 1: different. 3: not enough data. 2: bad input.
    """
    from bcall_hw import files
    from bcall_hw.compare.page import write_page
    from bcall_hw.compare.run import compare as run
    from bcall_hw.compare.settings import Settings

    settings = Settings(
        margin=margin, alpha=alpha, sample=sample, split=split, bin_s=bin_ms * 1e-3, sttc_window_s=window_ms * 1e-3,
        victor_purpura_cost_hz=cost_hz, van_rossum_tau_s=tau_ms * 1e-3, seed=seed,
    )  # fmt: skip
    cores = None if recover is None else chosen_cores(recover, "--recover")
    played = {"--source": source, "--stimulus": stimulus, "--rate": rate or None, "--duration-s": duration_s}
    with files.folder_of_one_run(out), progress_bars(as_json) as report:
        sessions = _sessions((a, b), out, played, (repeats, rest_s, rest_jitter_s), calibration, chip, report)
        if cores is not None:
            _check_measurable((a, b), sessions, cores)
        comparison, pictures = run((a, sessions[0]), (b, sessions[1]), settings, controls=not no_controls, report=report)
        if cores is not None:
            comparison = comparison.model_copy(update={"recovered": _recovered((a, b), sessions, cores, report)})
        write_page(out / "report.html", comparison, pictures)
        result = comparison.model_dump(mode="json")
        files.write_json(out / "result.json", result)
    if as_json:
        print(json.dumps(result | {"report": str(out / "report.html")}))
    else:
        show_compare.show(comparison)
        print(f"report: {out / 'report.html'}")
    raise typer.Exit(EXIT_CODES[comparison.verdict.value])


def _check_measurable(sides: tuple[str, str], sessions: list[Session], cores: tuple[tuple[int, int], ...]) -> None:
    """Refuse to measure what cannot be, before the long work."""
    from bcall_hw.calibrate.run import check_cores
    from bcall_hw.compare.live import check_measurable

    for source, session in zip(sides, sessions, strict=True):
        check_cores(check_measurable(source, session), cores, 1.0)


def _recovered(
    sides: tuple[str, str], sessions: list[Session], cores: tuple[tuple[int, int], ...], report: Report
) -> tuple[dict[str, Any], ...]:
    """Parameters of some cores, measured on both sides."""
    from bcall_hw.compare.live import open_to_measure
    from bcall_hw.compare.recovery import measured_soma, recovered_rows

    chips, found = tuple(sorted({chip for chip, _ in cores})), []
    for source, session in zip(sides, sessions, strict=True):
        backend = open_to_measure(source, session, chips)
        try:
            chip = session.chip
            if chip is not None:
                found.append(measured_soma(backend, chip, cores, report))
        finally:
            backend.close()
    return recovered_rows(found[0], found[1], cores)


def _sessions(
    sides: tuple[str, str], out: Path, played: dict[str, Any], repeats: tuple[int, float, float], calibration: Path | None,
    chip: str, report: Report,
) -> list[Session]:  # fmt: skip
    """Both sessions; live sides play what the other one's file holds, or what the options say."""
    from bcall_hw.compare.controls import emulator_options
    from bcall_hw.compare.live import Protocol, is_live, record_live
    from bcall_hw.record import steps_of
    from bcall_hw.recording.session import Session

    live = [is_live(side) for side in sides]
    if not all(live):
        for name, given in [*played.items(), ("--calibration", calibration)]:
            if given is not None:
                fix = "Leave it out: a live side plays what the file of the other side holds."
                raise InvalidValue("is for two live sides", where=name, used=str(given)[:80], fix=fix)
    loaded = {side: Session.load(Path(side)) for side, is_one in zip(sides, live, strict=True) if not is_one}
    if all(live):
        protocol = _protocol(played, repeats, calibration, chip)
    elif any(live):
        (known,) = loaded.values()
        made = known.made
        protocol = Protocol(
            steps_of(known), known.populations, made.source, made.calibration_sha256, emulator_options(known), made.profile
        )
    found = []
    for label, side, is_one in zip("AB", sides, live, strict=True):
        if not is_one:
            found.append(loaded[side])
            continue
        path = out / f"{label}.h5"
        for other in map(Path, (side.removeprefix("replay:") for side in sides)):
            if path.exists() and other.exists() and path.samefile(other):
                fix = "Move that file, or choose another folder with --out."
                raise FileProblem("a live side would take the place of a side's file", where=str(path), fix=fix)

        def told(what: str, done: int, total: int, of: str = label) -> None:
            report(f"{what} {of}", done, total)

        found.append(record_live(side, path, protocol, told))
    return found


def _protocol(played: dict[str, Any], repeats: tuple[int, float, float], calibration: Path | None, chip: str) -> Protocol:
    from bcall_hw.compare.live import Protocol
    from bcall_hw.experiments.emulation import played_stimulus
    from bcall_hw.record import repeats as repeats_of

    source, stimulus, rate, duration_s = (played[name] for name in ("--source", "--stimulus", "--rate", "--duration-s"))
    if source is None or duration_s is None or (stimulus is None and not rate):
        fix = "Give --source, --duration-s, and --stimulus or --rate; or the file of a session as one side."
        raise InvalidValue("two live sides have nothing to play", where="compare", fix=fix)
    config, mapped = source_of(source, chip, None, None, calibration, None)
    count, rest_s, jitter_s = repeats
    steps = repeats_of(
        config, played_stimulus(config, mapped, stimulus, poisson_rates(rate or []), None),
        microseconds("--duration-s", duration_s), count, microseconds("--rest-s", rest_s),
        jitter_us=microseconds("--rest-jitter-s", jitter_s),
    )  # fmt: skip
    measured = mapped is not None and mapped.calibration.kind == "measured"
    sha = mapped.calibration.sha256 if mapped is not None and measured else ""
    return Protocol(steps, mapped.addresses if mapped else {}, source.name, sha)
