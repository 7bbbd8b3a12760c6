"""bcall-hw map: does a network fit, how, and if not, why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.cli import show, show_map
from bcall_hw.cli.inputs import board_profile, mapped_network, refuse_overwriting
from bcall_hw.cli.shared import AsJson, Chip, MaybeCalibration, MaybeChips, MaybeFanIn
from bcall_hw.errors import InvalidValue, NetworkDoesNotFit
from bcall_hw.mapping import BiasChoice


def map_command(
    network: Annotated[Path, typer.Argument(help="Network file (.json or .toml).")],
    chip: Chip = DEFAULT_CHIP,
    chips: MaybeChips = None,
    fan_in: MaybeFanIn = None,
    seed: Annotated[int | None, typer.Option(help="Seed of --fan-in sample.", min=0, max=2**63 - 1)] = None,
    reserve: Annotated[int, typer.Option(help="CAM entries of every neuron that are kept free.", min=0)] = 0,
    profile: Annotated[Path | None, typer.Option(help="Board profile (.json, .toml) whose defects are avoided.")] = None,
    calibration: MaybeCalibration = None,
    explain: Annotated[
        list[str] | None, typer.Option(help="Show one neuron in full: population/index or chip/core/neuron; may be repeated.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a picture of the board (.svg, .png, .pdf).")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the registers to this file (.h5).")] = None,
    as_json: AsJson = False,
) -> None:
    """Map a network: utilisation, biases and every violation. Exit code 0 when it fits, 2 when not."""
    from bcall_hw.board_figure import check_ending, save_board_figure
    from bcall_hw.mapper import MapOptions, utilisation
    from bcall_hw.mapper import explain as explain_neuron

    given = [path for path in (network, profile, calibration) if path is not None]
    refuse_overwriting(out, *given)
    if picture is not None:
        check_ending(picture)
    if seed is not None and fan_in != "sample":
        raise InvalidValue("is for --fan-in sample alone", where="--seed", used=seed, fix="Leave it out.")
    options = MapOptions(fan_in=fan_in or "refuse", seed=seed or 0, reserve=reserve)
    defects = None if profile is None else board_profile(profile, None, None)
    try:
        mapped = mapped_network(network, chip, chips, options, defects, calibration)
    except NetworkDoesNotFit as problem:
        if as_json:
            print(json.dumps({"fits": False, "violations": [v.as_dict() for v in problem.violations]}))
        else:
            show_map.violations(network, chip, problem.violations)
        raise typer.Exit(2) from None
    neurons = [explain_neuron(mapped, name) for name in explain or []]
    if out is not None:
        mapped.config.save(out)
    if picture is not None:
        save_board_figure(mapped, picture)
    use = utilisation(mapped)
    if not as_json:
        for found in neurons:
            show_map.explained(found)
        if neurons:
            show.warnings(mapped.warnings)
        else:
            show_map.mapped(network, chip, mapped, use)
        if picture is not None:
            show.console.print(f"picture: {picture}", soft_wrap=True, highlight=False, markup=False)
        return
    keys, parts = ("input", "source", "tag", "chip", "core_mask"), ("population", "chip", "core", "first_neuron", "last_neuron")
    print(
        json.dumps(
            {
                "fits": True,
                "violations": [],
                "chips": list(mapped.config.chips),
                "utilisation": use,
                "biases": [_choice(core, choice) for core, choices in mapped.biases.items() for choice in choices],
                "addresses": [dict(zip(parts, row, strict=True)) for row in show_map.address_rows(mapped)],
                "inputs": [dict(zip(keys, row, strict=True)) for row in show_map.input_rows(mapped)],
                "departures": [d.as_dict() for d in mapped.departures],
                "warnings": mapped.warnings,
                "explained": neurons,
            }
        )
    )


def _choice(core: tuple[int, int], choice: BiasChoice) -> dict[str, Any]:
    return {
        "chip": core[0], "core": core[1], "quantity": choice.quantity, "bias": choice.bias, "coarse": choice.code.coarse,
        "fine": choice.code.fine, "wanted": choice.wanted, "predicted": choice.predicted, "error": choice.error,
    }  # fmt: skip
