"""How a comparison is shown on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from bcall_hw.cli.show import console
from bcall_hw.compare.result import Comparison, Verdict

_COLOUR = {Verdict.EQUIVALENT: "green", Verdict.DIFFERENT: "red", Verdict.NOT_ENOUGH_DATA: "yellow"}
#: Rows of quantities and cores that fill no screen.
_MOST_ROWS, _MOST_CORES = 44, 5
#: The longest name of a quantity, indented.
_NAME_WIDTH = 23
#: Beyond these a figure says nothing more, and would not fit.
_LARGEST_RATIO, _SMALLEST_P = 999, 0.001


def show(comparison: Comparison) -> None:
    """Sides, quantities, controls, cores, then the verdict."""
    _sides(comparison)
    _quantities(comparison)
    _controls(comparison)
    _cores(comparison)
    for title, rows in (("after learning", comparison.learned), ("parameters recovered", comparison.recovered)):
        if rows:
            names = list(dict.fromkeys(name for row in rows for name in row))
            table = Table(*(name.replace("_", " ") for name in names), title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
            for row in rows:
                table.add_row(*(escape(_number(row.get(name))) for name in names))
            console.print(table)
    colour = _COLOUR[comparison.verdict]
    console.print(f"[bold {colour}]{comparison.verdict.value}[/]: {escape(comparison.why)}", highlight=False)
    for text in comparison.next:
        console.print(f"next: {text}", highlight=False, markup=False)


def _sides(comparison: Comparison) -> None:
    table = Table("", "A", "B", title="sides")
    one, two = comparison.sides
    for name in ("source", "backend", "board", "seed", "repeats", "duration_s", "spikes"):
        table.add_row(name.replace("_", " "), *(escape(_number(getattr(side, name))) for side in (one, two)))
    for name in ("config_sha256", "stimulus_sha256", "calibration_sha256"):
        table.add_row(name.replace("_", " "), *(getattr(side, name)[:12] or "-" for side in (one, two)))
    console.print(table)
    for side in (one, two):
        for note in side.notes:
            console.print(f"note: {side.label}: {note}", highlight=False, markup=False)


def _quantities(comparison: Comparison) -> None:
    rows = comparison.quantities
    telling = [q for q in rows if q.verdict is not Verdict.EQUIVALENT]
    shown = list(rows) if len(rows) <= _MOST_ROWS else telling[:_MOST_ROWS]
    table = Table(title="quantities", box=None, padding=(0, 1, 0, 0))
    table.add_column("population, quantity", min_width=_NAME_WIDTH, overflow="fold")
    for name in ("distance", "within", "ratio", "at most", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    population = None
    for q in shown:
        if q.population != population:
            population = q.population
            table.add_row(f"[bold]{escape(population)}[/]")
        ratio = "inf" if q.ratio is None and q.within == 0 and q.distance else _ratio(q.ratio)
        verdict = f"[{_COLOUR[q.verdict]}]{q.verdict.value}[/]"
        values = (_number(value) for value in (q.distance, q.within))
        name = f"  {q.name} ({q.unit})" if q.unit else f"  {q.name}"
        table.add_row(name, *values, ratio, _ratio(q.ratio_upper), _p(q.p), verdict)
    console.print(table)
    s = comparison.settings
    cut = "" if s["bin_used_s"] == s["bin_s"] else f" (a tenth of a repeat, not {1e3 * s['bin_s']:g} ms)"
    console.print(
        "distance: of a repeat of A to one of B; within: of two of one side; at most: bound of their ratio at the level "
        f"{s['alpha_equivalence']:g}; p: of no difference, after Holm (of the repeats' order: {comparison.p_order:.3g}). "
        f"Counts in bins of {1e3 * s['bin_used_s']:g} ms{cut}.",
        highlight=False, style="dim",
    )  # fmt: skip
    if len(shown) < len(rows):
        console.print(f"{len(rows) - len(shown)} more rows: --json, or the report", highlight=False)


def _controls(comparison: Comparison) -> None:
    if not comparison.controls:
        return
    table = Table("control", "compared", "found", "as it should", title="negative controls: each must come out as different")
    for c in comparison.controls:
        found = "-" if c.verdict is None else f"{c.verdict.value} ({c.different} of {c.compared})"
        where = f": {escape(', '.join(c.not_told))}" if c.not_told else ""
        passed = "not run" if c.passed is None else "[green]yes[/]" if c.passed else f"[red]no[/]{where}"
        table.add_row(c.name, escape(c.what or c.reason), found, passed)
    console.print(table)


def _cores(comparison: Comparison) -> None:
    worst = [c for c in comparison.cores if c.differ][:_MOST_CORES]
    if comparison.verdict is not Verdict.DIFFERENT or not worst:
        return
    table = Table("core", "neurons whose rate differs", "A: rate (Hz)", "B: rate (Hz)", title="where it differs most")
    for c in worst:
        table.add_row(f"{c.chip}.{c.core}", f"{c.differ} of {c.neurons}", _number(c.rate_a_hz), _number(c.rate_b_hz))
    console.print(table)


def _ratio(value: float | None) -> str:
    return ">999" if value is not None and value > _LARGEST_RATIO else _number(value)


def _p(value: float | None) -> str:
    return "<0.001" if value is not None and value < _SMALLEST_P else _number(value)


def _number(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
