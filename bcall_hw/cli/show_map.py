"""How a mapping is shown on a terminal: utilisation, addresses, violations, one neuron in full."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from bcall_hw.cli import show
from bcall_hw.errors import BcallError
from bcall_hw.mapper import MappedNetwork
from bcall_hw.mapping import BiasChoice

#: Rows of a long table that are shown.
_ROWS = 8
#: Rows of the table of violations.
_VIOLATIONS = 20
_NEURON = re.compile(r"(population '.*') neuron (\d+)")


def violations(network: Path, chip: str, found: tuple[BcallError, ...]) -> None:
    """Every broken rule; neurons of one population that break it alike in one row."""
    table = Table("rule", "violation", title=escape(f"{network} does not fit {chip}"))
    groups: dict[tuple[str, ...], list[BcallError]] = {}
    for violation in found:
        place = _NEURON.fullmatch(violation.where)
        told = (type(violation).__name__, violation.what, violation.fix, str(violation.used), str(violation.limit))
        key = (*told, place.group(1) if place else violation.where)
        groups.setdefault(key, []).append(violation)
    rows = [(members[0], len(members)) for members in groups.values()]
    for violation, count in rows[:_VIOLATIONS]:
        more = f" (and {count - 1:,} more neurons of it alike)" if count > 1 else ""
        table.add_row(type(violation).__name__, escape(str(violation) + more))
    show.console.print(table)
    if len(rows) > _VIOLATIONS:
        counts = Counter(type(v).__name__ for v in found)
        kinds = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        text = f"{_VIOLATIONS} of {len(rows):,} kinds of violations ({kinds}); --json lists all"
        show.console.print(text, highlight=False, markup=False)


def mapped(network: Path, chip: str, result: MappedNetwork, use: Mapping[str, Any]) -> None:
    """Utilisation by core and population, where things lie, and the bias codes of each kind of core."""
    totals = ", ".join(f"{k} {use[k]['used']:,} of {use[k]['of']:,}" for k in show.RESOURCES)
    chips = ", ".join(map(str, result.config.chips))
    text = f"{network} fits {chip} on chip{'s' if len(result.config.chips) > 1 else ''} {chips}: {totals}"
    show.console.print(text, highlight=False, soft_wrap=True, markup=False)
    any_core = use["cores"][0]
    limits = (
        any_core["neurons_of"],
        any_core["cam_of"],
        result.config.chip.cam.entries,
        any_core["sram_of"],
        any_core["tags_of"],
    )
    headers = ("neurons", "CAM entries", "fullest neuron", "SRAM entries", "tags")
    table = Table(
        "core", "populations", *(f"{n}\nof {of:,}" for n, of in zip(headers, limits, strict=True)), title="used, by core"
    )
    for c in use["cores"]:
        if c["neurons"]:
            counts = (c["neurons"], c["cam_used"], c["cam_most"], c["sram_used"], c["tags"])
            populations = ", ".join(f"{name} {count}" for name, count in c["populations"].items())
            table.add_row(f"{c['chip']}/{c['core']}", escape(populations), *(f"{n:,}" for n in counts))
    for column in table.columns[2:]:
        column.justify = "right"
    idle = sum(not c["neurons"] for c in use["cores"])
    table.caption = f"{idle} cores without neurons are left out" if idle else None
    show.console.print(table)
    first = _ROWS
    table = Table(
        "population", "chip", "core", "first neuron", "last neuron", title=f"addresses (first {first}; all with --json)"
    )
    for row in address_rows(result)[:first]:
        table.add_row(*(str(part) for part in row))
    show.console.print(table)
    table = Table("input", "source", "tag", "chip", "core mask", title=f"tags of the inputs (first {first}; all with --json)")
    for name, index, tag, chip_id, mask in input_rows(result)[:first]:
        table.add_row(name, *(str(n) for n in (index, tag, chip_id, mask)))
    show.console.print(table)
    for names, choices in _by_kind(result):
        table = Table(title=f"biases of {names} (SI units)", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for header in ("quantity", "bias", "coarse", "fine", "wanted", "predicted", "error"):
            table.add_column(header, no_wrap=True)
        for c in choices:
            codes = (str(c.code.coarse), str(c.code.fine))
            table.add_row(c.quantity, c.bias, *codes, f"{c.wanted:.4g}", f"{c.predicted:.4g}", f"{c.error:+.2%}")
        show.console.print(table)
    show.warnings(result.warnings)


def explained(found: Mapping[str, Any]) -> None:
    """One neuron: its inputs, destinations and biases."""
    where = f"chip {found['chip']} core {found['core']} neuron {found['number']}"
    table = Table(title=f"{found['neuron']}, at {where}: inputs ({found['free_cam_entries']} CAM entries free)")
    for header in ("source", "connection", "synapse", "tag", "virtual core, neuron", "CAM", "first word", "state"):
        table.add_column(header, no_wrap=header != "connection")
    for row in found["inputs"]:
        state = "" if row["present"] else "parked"
        entries = ", ".join(map(str, row["entries"]))
        tag = (str(row["tag"]), f"{row['tag_core']}, {row['tag_neuron']}")
        kind = "plastic" if row["plastic"] else ""
        words = row["words"][0] if row["words"] else "-"
        table.add_row(
            row["source"], row["connection"], row["synapse"], *tag, entries, words, f"{kind} {state}".strip() or "fixed"
        )
    show.console.print(table)
    table = Table("SRAM entry", "tag", "to chip", "cores", "hops (sx dx sy dy)", "word", title="destinations")
    for row in found["destinations"]:
        hops = f"{row['sx']} {row['dx']} {row['sy']} {row['dy']}"
        cores = ", ".join(map(str, row["cores"]))
        table.add_row(str(row["entry"]), str(row["tag"]), str(row["chip"]), cores, hops, row["word"])
    show.console.print(table)
    table = Table("quantity", "bias", "coarse", "fine", "wanted", "predicted", "error", title="biases (SI units)")
    for c in found["biases"]:
        values = (f"{c['wanted']:.4g}", f"{c['predicted']:.4g}", f"{c['error']:+.2%}")
        table.add_row(c["quantity"], c["bias"], str(c["coarse"]), str(c["fine"]), *values)
    show.console.print(table)


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
