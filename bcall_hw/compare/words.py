"""The whole comparison in words: the verdict, why, and what to do next."""

from __future__ import annotations

from collections import Counter

import numpy as np

from bcall_hw.compare.compare import Compared
from bcall_hw.compare.judgement import too_few
from bcall_hw.compare.result import Control, CoreDifference, Verdict
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.sides import Observed

_CORES_TOLD = 3


def verdict_and_why(
    compared: Compared, controls: tuple[Control, ...], a: Observed, b: Observed, settings: Settings
) -> tuple[Verdict, str]:
    """The verdict after the controls, and its reason in a sentence."""
    defined = [q for q in compared.quantities if q.distance is not None]
    left_out = len(compared.quantities) - len(defined)
    rest = f" ({left_out} of {len(compared.quantities)} could not be judged: too few spikes)" if left_out else ""
    if compared.verdict is Verdict.DIFFERENT:
        different = [q for q in defined if q.verdict is Verdict.DIFFERENT]
        worst = max(different, key=lambda q: np.inf if q.ratio is None else q.ratio)
        times = "in which two repeats of one side do not differ at all"
        if worst.ratio is not None:
            times = f"whose distance is {worst.ratio:.3g} times that of two repeats"
        return compared.verdict, (
            f"{len(different)} of {len(defined)} quantities differ{rest}; most of all {worst.name} of {worst.population}, "
            f"{times}"
        )
    if compared.bit_identical and compared.verdict is Verdict.EQUIVALENT:
        return compared.verdict, f"the spikes of both sides are the same, bit by bit, in all {len(a.runs)} repeats"
    if compared.verdict is Verdict.EQUIVALENT:
        failed = [_failed(control) for control in controls if control.passed is False]
        if failed:
            return Verdict.NOT_ENOUGH_DATA, f"nothing differs, but neither did the controls that should: {', '.join(failed)}"
        not_run = [control.name for control in controls if control.passed is None]
        if not_run or not controls:
            rest += f"; controls not run: {', '.join(not_run) or 'all'}"
        upper = max(q.ratio_upper or 0.0 for q in defined)
        return compared.verdict, (
            f"no quantity differs, and all {len(defined)} distances are at most {upper:.3g} times those of two repeats "
            f"(margin {settings.margin:g}){rest}"
        )
    if compared.hardly_fires:
        return Verdict.NOT_ENOUGH_DATA, f"hardly anything fires: less than {settings.min_spikes:g} spikes in a repeat"
    repeats = min(a.repeats, b.repeats)
    if repeats < settings.min_repeats:
        return Verdict.NOT_ENOUGH_DATA, too_few(repeats, settings)
    if compared.order_matters:
        return Verdict.NOT_ENOUGH_DATA, (
            f"repeats follow from one another and are not independent (p {compared.p_order:.3g} of their order): only large "
            "differences can be told"
        )
    open_ones = [q for q in defined if not q.equivalent]
    worst = max(open_ones, key=lambda q: np.inf if q.ratio_upper is None else q.ratio_upper)
    return Verdict.NOT_ENOUGH_DATA, (
        f"no difference found, but {len(open_ones)} of {len(defined)} quantities may exceed the margin; most of all "
        f"{worst.name} of {worst.population}"
    )


def _failed(control: Control) -> str:
    return f"{control.name} ({', '.join(control.not_told)})" if control.not_told else control.name


def next_steps(
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
        if compared.order_matters:
            told.append(
                "Neurons that fire by themselves go on where they were, or something drifts: record with rests of random "
                "length (bcall-hw record --rest-jitter-s), and compare stationary runs only."
            )
        elif repeats < settings.min_repeats:
            told.append(
                f"Record at least {settings.min_repeats} repeats (bcall-hw record --repeats), or cut one long stationary run "
                f"with --split {settings.min_repeats}."
            )
        else:
            told.append("Record more or longer repeats, or drive the network so that it fires more.")
    failed = [_failed(control) for control in controls if control.passed is False and not compared.bit_identical]
    told += [f"The control '{name}' was not told apart: believe no 'equivalent' from this data." for name in failed]
    enough = min(a.repeats, b.repeats) >= settings.min_repeats
    if enough and verdict is not Verdict.DIFFERENT and compared.smallest_p >= settings.alpha:
        told.append("So many populations need more repeats: with these nothing can be called different.")
    if compared.bit_identical:
        told.append("Nothing to do: the same registers, stimuli and seeds gave the same spikes.")
    elif verdict is Verdict.EQUIVALENT:
        told.append("Keep both files: a later software or board can be held against them.")
    return tuple(told)
