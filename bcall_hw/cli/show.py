"""How results are shown on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bcall_hw.errors import BcallError
from bcall_hw.mapper import MappedNetwork
from bcall_hw.mapping import BiasChoice

console = Console()

_RESOURCES = ("neurons", "cam", "sram", "fpga_sources")


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
    rows: dict[str, Any] = {f"{k} used": f"{use[k]['used']:,} of {use[k]['of']:,}" for k in _RESOURCES}
    rows |= {k: result[k] for k in ("events_sent", "spikes_read", "weight_flips", "words_written", "simulated_s")}
    rows["times real time (learning loop)"] = result["real_time_factor"]
    rows["elapsed (s)"] = result["elapsed_s"]
    rows["numpy oracle"] = f"same bits in {result['numpy_oracle']['presentations']} replayed presentations"
    rows |= {k: result[k] for k in ("words_decode_to_config", "spikes_sha256", "cam_sha256")}
    figures("run", rows)
    warnings(result["warnings"])
    console.print(f"report: {report}", soft_wrap=True, highlight=False, markup=False)


def violations(network: Path, chip: str, found: tuple[BcallError, ...]) -> None:
    """Every broken rule, one a row."""
    table = Table("rule", "violation", title=escape(f"{network} does not fit {chip}"))
    for violation in found[:20]:
        table.add_row(type(violation).__name__, escape(str(violation)))
    console.print(table)
    if len(found) > 20:
        console.print(f"... and {len(found) - 20} more; --json lists all", highlight=False, markup=False)


def mapped(network: Path, chip: str, result: MappedNetwork, use: Mapping[str, Any]) -> None:
    """Utilisation by core, and the bias codes of each kind of core."""
    totals = ", ".join(f"{k} {use[k]['used']:,} of {use[k]['of']:,}" for k in _RESOURCES)
    console.print(f"{network} fits {chip}: {totals}", highlight=False, soft_wrap=True, markup=False)
    table = Table("chip", "core", "populations", "neurons", "CAM entries", "fullest neuron", "input tags")
    for c in use["cores"]:
        counts = (c["neurons"], c["cam_used"], c["cam_most"], c["input_tags"])
        table.add_row(str(c["chip"]), str(c["core"]), ", ".join(c["populations"]) or "-", *(f"{n:,}" for n in counts))
    console.print(table)
    table = Table("population", "chip", "core", "first neuron", "last neuron", title="addresses (first 8; all with --json)")
    for row in address_rows(result)[:8]:
        table.add_row(*(str(part) for part in row))
    console.print(table)
    table = Table("input", "source", "tag", "chip", "core mask", title="tags of the inputs (first 8; all with --json)")
    for name, index, tag, chip_id, mask in input_rows(result)[:8]:
        table.add_row(name, *(str(n) for n in (index, tag, chip_id, mask)))
    console.print(table)
    for names, choices in _by_kind(result):
        table = Table(title=f"biases of {names} (SI units)", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for header in ("quantity", "bias", "coarse", "fine", "wanted", "predicted", "error"):
            table.add_column(header, no_wrap=True)
        for c in choices:
            codes = (str(c.code.coarse), str(c.code.fine))
            table.add_row(c.quantity, c.bias, *codes, f"{c.wanted:.4g}", f"{c.predicted:.4g}", f"{c.error:+.2%}")
        console.print(table)
    warnings(result.warnings)


def address_rows(result: MappedNetwork) -> list[tuple[str, int, int, int, int]]:
    """Where each population lies: name, chip, core, first and last neuron; a row for each run of neurons."""
    rows: list[tuple[str, int, int, int, int]] = []
    for name, addresses in result.addresses.items():
        for chip, core, neuron in addresses.tolist():
            if rows and rows[-1][:3] == (name, chip, core) and rows[-1][4] == neuron - 1:
                rows[-1] = (*rows[-1][:4], neuron)
            else:
                rows.append((name, chip, core, neuron, neuron))
    return rows


def input_rows(result: MappedNetwork) -> list[tuple[str, int, int, int, int]]:
    """What a stimulus needs: input, source index, tag, target chip, core mask; a row per source and target chip."""
    rows: list[tuple[str, int, int, int, int]] = []
    for name, reach in result.input_reach.items():
        for index, (tag, cores) in enumerate(zip(result.input_tags[name].tolist(), reach, strict=True)):
            chips = sorted({c for c, _ in cores})
            rows += [(name, index, tag, chip, sum(1 << k for c, k in cores if c == chip)) for chip in chips]
    return rows


def _by_kind(result: MappedNetwork) -> list[tuple[str, list[BiasChoice]]]:
    """Cores with equal choices together: they hold one kind of neuron."""
    kinds: list[tuple[list[str], list[BiasChoice]]] = []
    for (chip, core), choices in result.biases.items():
        same = next((names for names, known in kinds if known == choices), None)
        if same is None:
            same = []
            kinds.append((same, choices))
        same.append(f"chip {chip} core {core}")
    return [(", ".join(names), choices) for names, choices in kinds]


def doctor(found: Mapping[str, Any]) -> None:
    """Installed and missing things, and what to do."""
    table = Table("thing", "state", "what to do")
    for name in ("bcall_hw", "python", "platform", "processors"):
        table.add_row(name, str(found[name]), "")
    for name, seen in found["needed"].items():
        table.add_row(name, seen or "[red]missing[/]", "" if seen else f"pip install {name}")
    for name, item in found["optional"].items():
        table.add_row(name, item["version"] or "not installed (optional)", "" if item["version"] else item["use"])
    samna = found["samna"]
    table.add_row("samna", f"{samna['kind']} {samna['version'] or ''}", samna["advice"])
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
