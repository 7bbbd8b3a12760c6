"""bcall-hw import: a NIR file to a network file, with what was rounded, approximated and dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.cli import show
from bcall_hw.cli.shared import AsJson, Chip
from bcall_hw.errors import FileProblem, InvalidValue

if TYPE_CHECKING:
    from bcall_hw.nir_import import ImportedNetwork


def import_command(
    nir_file: Annotated[Path, typer.Argument(help="NIR file (.nir).")],
    out: Annotated[Path, typer.Option(help="Write the network to this file (.json or .toml).")],
    dt_s: Annotated[
        float | None, typer.Option(help="Length of the model's time step (s): its time constants are in steps, as sinabs' are.")
    ] = None,
    spike_s: Annotated[
        float | None, typer.Option(help="How long one spike's unit current lasts (s); --dt-s if absent.")
    ] = None,
    levels: Annotated[
        str | None, typer.Option(help='Largest multiplicity of a synapse: a number, or e.g. "1=4,3=8,*=2" by layer.')
    ] = None,
    reserve: Annotated[int | None, typer.Option(help="CAM entries of each neuron to leave free.")] = None,
    settings_file: Annotated[Path | None, typer.Option("--settings", help="JSON file with any of the import settings.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the network.")] = None,
    chip: Chip = DEFAULT_CHIP,
    as_json: AsJson = False,
) -> None:
    """Import a NIR graph (sinabs and others): layers, quantisation errors, and everything that is not as the file says."""
    from bcall_hw.nir_import import import_nir

    if out.suffix not in (".json", ".toml") or out.resolve() in {p.resolve() for p in (nir_file, settings_file) if p}:
        raise FileProblem("the network needs a .json or .toml file of its own", where="--out", used=str(out)[:200])
    given = {"dt_s": dt_s, "spike_s": spike_s, "levels": _levels(levels), "reserve": reserve, "name": name}
    imported = import_nir(nir_file, _settings(settings_file, given), chip)
    imported.network.save(out)
    if as_json:
        print(json.dumps(imported.as_dict() | {"out": str(out)}))
        return
    _show(imported, out)


def _settings(path: Path | None, given: dict[str, Any]) -> Any:
    from bcall_hw import files
    from bcall_hw.nir_import import ImportSettings

    own = {} if path is None else files.read_json(path)
    if not isinstance(own, dict):
        raise InvalidValue("settings must be a JSON object", where=str(path), used=type(own).__name__)
    return ImportSettings(**(own | {k: v for k, v in given.items() if v is not None}))


def _levels(text: str | None) -> int | dict[str, int] | None:
    """A number, or a table "layer=number" with commas between."""
    if text is None:
        return None
    try:
        if "=" not in text:
            return int(text)
        pairs = [part.rpartition("=") for part in text.split(",")]
        return {layer.strip(): int(number) for layer, _, number in pairs}
    except ValueError:
        fix = 'Give a number, or layer=number with commas between, e.g. "1=4,*=2".'
        raise InvalidValue("is no number of levels", where="--levels", used=text, fix=fix) from None


def _show(imported: ImportedNetwork, out: Path) -> None:
    title = escape(f"network {imported.network.name!r} -> {out}")
    table = Table(
        "layer",
        "kind",
        "size",
        "from",
        "weights",
        "levels",
        "RMS error",
        "to zero",
        "saturated",
        "CAM mean / most",
        title=title,
    )
    for layer in imported.layers:
        row = layer.as_dict()
        counts = (
            f"{row['weights']:,}",
            str(row["levels"]),
            f"{row['relative_rms']:.1%}",
            f"{row['zeroed']:,}",
            f"{row['saturated']:,}",
        )
        sources = escape(", ".join(row["sources"]))
        cam = f"{row['entries_mean']:.1f} / {row['entries_most']}"
        table.add_row(escape(layer.name), layer.kind, f"{layer.size:,}", sources, *counts, cam)
    show.console.print(table)
    for note in imported.notes:
        show.console.print(str(note), highlight=False, markup=False, soft_wrap=True)
