"""A whole comparison: measure, judge, control, look where, say what to do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from bcall_hw.compare.compare import Compared, Report, compare_sides
from bcall_hw.compare.controls import run_controls
from bcall_hw.compare.learned import learned_rows
from bcall_hw.compare.places import look
from bcall_hw.compare.quantities import QUANTITIES
from bcall_hw.compare.result import Comparison, Control, CoreDifference, Pictures, Verdict
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.sides import Observed, matched, observe
from bcall_hw.compare.words import too_few
from bcall_hw.recording.session import Session

_CORES_TOLD = 3


def compare(
    a: tuple[str, Session], b: tuple[str, Session], settings: Settings | None = None, *, controls: bool = True,
    report: Report | None = None,
) -> tuple[Comparison, Pictures]:  # fmt: skip
    """Compare two sessions.

    Args:
        a, b: where each comes from (a file, a backend), and the session.
        settings: margins, level, samples.
        controls: whether negative controls are run; two of them play the session on the emulator.
        report: called with (what is being done, done, total).

    Returns:
        The result, and what its page draws.

    Raises:
        InvalidValue: the sessions played other stimuli or hold other populations, or no complete run.
    """
    chosen = settings or Settings()
    side_a, side_b = matched(observe(a[1], "A", a[0], chosen), observe(b[1], "B", b[0], chosen))
    compared = compare_sides(side_a, side_b, chosen, report)
    checked = run_controls(side_a, side_b, chosen, report) if controls else ()
    verdict, why = _verdict(compared, checked, side_a, side_b, chosen)
    cores, pictures = look(side_a, side_b, compared.matrices, chosen)
    comparison = Comparison(
        verdict=verdict, why=why, sides=(side_a.side(), side_b.side()), bit_identical=compared.bit_identical,
        quantities=compared.quantities, controls=checked, cores=cores, learned=learned_rows(a[1].learned, b[1].learned),
        settings=_told(chosen, side_a), next=_next(verdict, compared, checked, cores, side_a, side_b, chosen),
    )  # fmt: skip
    return comparison, pictures


def _told(settings: Settings, side: Observed) -> dict[str, Any]:
    """Every choice, and what it came to."""
    duration_s = side.conditions[0][0].duration_us * 1e-6
    sampled = {name: min(len(places), settings.sample) for name, places in side.populations.items()}
    return settings.model_dump() | {
        "bin_used_s": min(settings.bin_s, duration_s / 10), "neurons_compared_pair_by_pair": sampled,
        "stimuli": len(side.conditions), "meaning": {name: meaning.words for name, meaning in QUANTITIES.items()},
    }  # fmt: skip


def _verdict(
    compared: Compared, controls: tuple[Control, ...], a: Observed, b: Observed, settings: Settings
) -> tuple[Verdict, str]:
    defined = [q for q in compared.quantities if q.distance is not None]
    left_out = len(compared.quantities) - len(defined)
    rest = f" ({left_out} of {len(compared.quantities)} could not be judged: too few spikes)" if left_out else ""
    if compared.verdict is Verdict.DIFFERENT:
        different = [q for q in defined if q.verdict is Verdict.DIFFERENT]
        worst = max(different, key=lambda q: np.inf if q.ratio is None else q.ratio)
        times = "where repeats do not differ at all" if worst.ratio is None else f"{worst.ratio:.3g} times that of two repeats"
        return compared.verdict, (
            f"{len(different)} of {len(defined)} quantities differ{rest}; most of all {worst.name} of {worst.population}, "
            f"whose distance is {times}"
        )
    failed = [control.name for control in controls if control.passed is False]
    if compared.bit_identical and compared.verdict is Verdict.EQUIVALENT:
        return compared.verdict, f"the spikes of both sides are the same, bit by bit, in all {len(a.runs)} repeats"
    if compared.verdict is Verdict.EQUIVALENT:
        if failed:
            return Verdict.NOT_ENOUGH_DATA, f"nothing differs, but neither did the controls that should: {', '.join(failed)}"
        upper = max(q.ratio_upper or 0.0 for q in defined)
        return compared.verdict, (
            f"no quantity differs, and all {len(defined)} distances are at most {upper:.3g} times those of two repeats "
            f"(margin {settings.margin:g}){rest}"
        )
    repeats = min(a.repeats, b.repeats)
    if repeats < settings.min_repeats:
        return Verdict.NOT_ENOUGH_DATA, too_few(repeats, settings)
    if not any(q.name != "rate" for q in defined):
        return Verdict.NOT_ENOUGH_DATA, "hardly anything fires"
    open_ones = [q for q in defined if not q.equivalent]
    worst = max(open_ones, key=lambda q: np.inf if q.ratio_upper is None else q.ratio_upper)
    return Verdict.NOT_ENOUGH_DATA, (
        f"no difference found, but {len(open_ones)} of {len(defined)} quantities may exceed the margin; most of all "
        f"{worst.name} of {worst.population}"
    )


def _next(
    verdict: Verdict, compared: Compared, controls: tuple[Control, ...], cores: tuple[CoreDifference, ...], a: Observed,
    b: Observed, settings: Settings,
) -> tuple[str, ...]:  # fmt: skip
    """What to do next, the most useful first."""
    told = []
    if verdict is Verdict.DIFFERENT:
        worst = [c for c in cores if c.differ][:_CORES_TOLD]
        if worst:
            names = ", ".join(f"chip {c.chip} core {c.core} ({c.differ} of {c.neurons} neurons)" for c in worst)
            told.append(f"Look at these cores first: {names}.")
        kinds = Counter(q.name for q in compared.quantities if q.verdict is Verdict.DIFFERENT)
        if kinds and not (kinds.get("rate") or kinds.get("relative_rate")):
            told.append("Rates agree and timing does not: look at time constants and at the time step of the emulator.")
        elif kinds:
            told.append("Rates differ: calibrate the board (bcall-hw calibrate) and map with its record.")
        if len({side.side().config_sha256 for side in (a, b)} - {""}) > 1:
            told.append("The sides had different registers: record both with the same registers file.")
        if len({side.session.made.calibration_sha256 for side in (a, b)}) > 1:
            told.append("The sides were mapped with different calibration records.")
    if verdict is Verdict.NOT_ENOUGH_DATA:
        repeats = min(a.repeats, b.repeats)
        if repeats < settings.min_repeats:
            told.append(
                f"Record at least {settings.min_repeats} repeats (bcall-hw record --repeats), or cut one long stationary run "
                f"with --split {settings.min_repeats}."
            )
        else:
            told.append("Record more or longer repeats, or drive the network so that it fires more.")
    failed = [control.name for control in controls if control.passed is False and not compared.bit_identical]
    told += [f"The control '{name}' was not told apart: believe no 'equivalent' from this data." for name in failed]
    if compared.bit_identical:
        told.append("Nothing to do: the same registers, stimuli and seeds gave the same spikes.")
    elif verdict is Verdict.EQUIVALENT:
        told.append("Keep both files: a later software or board can be held against them.")
    return tuple(told)
