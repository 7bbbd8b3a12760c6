"""A whole comparison: measure, judge, control, look where, say what to do."""

from __future__ import annotations

from typing import Any

from bcall_hw.compare.compare import Compared, Report, compare_sides
from bcall_hw.compare.controls import run_controls
from bcall_hw.compare.learned import learned_rows
from bcall_hw.compare.places import look
from bcall_hw.compare.quantities import QUANTITIES
from bcall_hw.compare.result import Comparison, Pictures
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.sides import Observed, matched, observe
from bcall_hw.compare.words import next_steps, verdict_and_why
from bcall_hw.recording.session import Session


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
    verdict, why = verdict_and_why(compared, checked, side_a, side_b, chosen)
    cores, pictures = look(side_a, side_b, compared.matrices, chosen)
    comparison = Comparison(
        verdict=verdict, why=why, sides=(side_a.side(), side_b.side()), bit_identical=compared.bit_identical,
        p_order=compared.p_order, order_matters=compared.order_matters,
        quantities=compared.quantities, controls=checked, cores=cores, learned=learned_rows(a[1].learned, b[1].learned),
        settings=_choices(chosen, side_a, compared), next=next_steps(verdict, compared, checked, cores, side_a, side_b, chosen),
    )  # fmt: skip
    return comparison, pictures


def _choices(settings: Settings, side: Observed, compared: Compared) -> dict[str, Any]:
    """Every choice, and what it came to."""
    duration_s = side.conditions[0][0].duration_us * 1e-6
    return settings.model_dump() | {
        "bin_used_s": min(settings.bin_s, duration_s / 10), "neurons_compared_pair_by_pair": dict(compared.sampled),
        "stimuli": len(side.conditions), "meaning": {name: meaning.words for name, meaning in QUANTITIES.items()},
    }  # fmt: skip
