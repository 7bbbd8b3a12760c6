"""How results are shown on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console()

#: What a network takes of a board.
RESOURCES = ("neurons", "cam", "sram", "fpga_sources")


def figures(title: str, rows: Mapping[str, Any]) -> None:
    """Names and values, one a row; hashes are not cut."""
    table = Table("figure", "value", title=title)
    table.columns[1].overflow = "fold"
    for name, value in rows.items():
        table.add_row(name.replace("_", " "), escape(_number(name, value)))
    console.print(table)


def boards(rows: Sequence[Mapping[str, Any]]) -> None:
    """One row for each board."""
    names = list(rows[0].get("populations", {}))
    table = Table(
        "board seed", "spikes", "neurons that fired", *(f"{n}: rate (Hz)" for n in names), "spikes sha256 (all with --json)"
    )
    for row in rows:
        rates = [f"{row['populations'][name]['mean_rate_hz']:,.4g}" for name in names]
        table.add_row(
            str(row["seed"]), f"{row['spikes']:,}", f"{row['neurons_that_fired']:,}", *rates, row["spikes_sha256"][:12]
        )
    console.print(table)


def warnings(texts: Sequence[str]) -> None:
    """One line for each."""
    for text in texts:
        console.print(f"warning: {text}", highlight=False, markup=False)


def _number(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if type(value) is int and name != "seed" else str(value)


def demo(result: Mapping[str, Any], report: Path) -> None:
    """Accuracies beside the baselines, then what the run took."""
    title = f"{result['data']} on {result['backend']}, board seed {result['seed']}"
    table = Table("method", "accuracy on held-out images", title=title)
    for variant in [result, *([result["beside"]] if "beside" in result else [])]:
        table.add_row(f"BCaLL, {variant['variant']}", f"{variant['accuracy']:.1%}")
    logistic = result["baselines"]["logistic"]
    table.add_row("logistic regression, same binary pixels", "not computed" if logistic is None else f"{logistic:.1%}")
    table.add_row("majority class", f"{result['baselines']['majority']:.1%}")
    console.print(table)
    use = result["utilisation"]
    rows: dict[str, Any] = {f"{k} used": f"{use[k]['used']:,} of {use[k]['of']:,}" for k in RESOURCES}
    rows |= {k: result[k] for k in ("events_sent", "spikes_read", "weight_flips", "words_written", "simulated_s")}
    rows["times real time (learning loop)"] = result["real_time_factor"]
    rows["elapsed (s)"] = result["elapsed_s"]
    rows["numpy oracle"] = f"same bits in {result['numpy_oracle']['presentations']} replayed presentations"
    rows |= {k: result[k] for k in ("words_decode_to_config", "spikes_sha256", "cam_sha256")}
    figures("run", rows)
    warnings(result["warnings"])
    console.print(f"report: {report}", soft_wrap=True, highlight=False, markup=False)


def doctor(found: Mapping[str, Any]) -> None:
    """Installed and missing things, and what to do."""
    table = Table("thing", "state", "what to do")
    for name in ("bcall_hw", "python", "platform", "processors"):
        table.add_row(name, str(found[name]), "")
    for name, seen in found["needed"].items():
        table.add_row(name, seen or "[red]missing[/]", "" if seen else f"pip install {name}")
    for name, item in found["optional"].items():
        table.add_row(name, item["version"] or "not installed (optional)", "" if item["version"] else escape(item["use"]))
    samna = found["samna"]
    told = f"{samna['kind']} {samna['version'] or ''} ({samna['python']})"
    table.add_row("samna", escape(told), escape(samna["advice"]))
    lacking = found["virtual_board"]["missing"]
    table.add_row(
        "virtual board", "can be built" if not lacking else "cannot be built", f"needs {', '.join(lacking)}" if lacking else ""
    )
    table.add_row("backends", ", ".join(name for name, usable in found["backends"].items() if usable), "")
    table.add_row("chip models", ", ".join(found["chips"]), "")
    console.print(table)
    for problem in found["problems"]:
        console.print(f"problem: {problem['what']}. {problem['fix']}", highlight=False, markup=False)


def checks(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """What a figure was asked, and what was found."""
    table = Table("asked", "wanted", "found", "holds", title=escape(title), caption="-: nothing to compare with")
    for column in table.columns:
        column.overflow = "fold"
    words = {True: "yes", False: "[bold red]NO[/]", None: "-"}
    for row in rows:
        table.add_row(*(escape(row[k]) for k in ("what", "wanted", "found")), words[row["met"]])
    console.print(table)


def traces(rows: Sequence[Mapping[str, Any]], rate_hz: float) -> None:
    """What a core makes of each trace."""
    held = [row for row in rows if "problem" not in row]
    table = Table("", *(row["trace"] for row in held))
    table.add_row("tau, a", *(f"{row['tau_s'] * 1e3:g} ms, {row['a']:g}" for row in held))
    table.add_row("DPI, alone", *(row["circuit"] for row in held))
    table.add_row("pulse width", *(f"{row['pulse_s'] * 1e3:.4g} ms" for row in held))
    for key, what in (("tau_code", "code of tau"), ("pulse_code", "code of the pulse width")):
        table.add_row(f"{what} (coarse/fine)", *(f"{row[key]['coarse']}/{row[key]['fine']}" for row in held))
    for key, what in (
        ("tau_error", "error of tau"), ("a_error", "error of a"), ("mean_error", f"error of the mean at {rate_hz:g} Hz"),
        ("finite_mean_error", "of the mean, finite pulses"), ("a_error_on_one_core", "error of a, all on one core"),
    ):  # fmt: skip
        if any(key in row for row in held):
            table.add_row(what, *(f"{row[key]:+.1%}" for row in held))
    if held:
        console.print(table)
    for row in rows:
        if "problem" in row:
            console.print(f"{row['trace']}: {row['problem']}", markup=False, highlight=False, soft_wrap=True)
