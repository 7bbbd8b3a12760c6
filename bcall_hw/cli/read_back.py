"""bcall-hw read-back: the network that a register image holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bcall_hw.cli import show
from bcall_hw.cli.inputs import board_profile
from bcall_hw.cli.shared import AsJson
from bcall_hw.errors import FileProblem


def read_back(
    registers: Annotated[Path, typer.Argument(help="Registers (.h5).")],
    out: Annotated[Path, typer.Option(help="Write the network to this file (.json, .toml).")],
    calibration: Annotated[Path | None, typer.Option(help="Calibration record of the board (.json).")] = None,
    profile: Annotated[Path | None, typer.Option(help="Board profile (.json, .toml) with the board's defects.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read a network back from registers: what they deliver, with the parameters that their codes predict."""
    from bcall_hw.calibration import load_calibration
    from bcall_hw.chip_config import ChipConfig
    from bcall_hw.mapper import network_of

    given = [path for path in (registers, calibration, profile) if path is not None]
    if out.suffix not in (".json", ".toml") or any(out.resolve() == path.resolve() for path in given):
        raise FileProblem("the network needs a .json or .toml file of its own", where="--out", used=str(out)[:200])
    config = ChipConfig.load(registers)
    defects = None if profile is None else board_profile(profile, None, None)
    network = network_of(config, calibration=load_calibration(config.chip, calibration), defects=defects)
    network.save(out)
    found = {
        "network": str(out), "chips": list(config.chips), "populations": len(network.populations),
        "neurons": sum(p.size for p in network.populations), "fpga_sources": sum(i.size for i in network.inputs),
        "synapses": sum(network.synapses(c)[0].size for c in network.connections),
    }  # fmt: skip
    if as_json:
        print(json.dumps(found))
    else:
        show.figures("read back", {k: v for k, v in found.items() if k != "chips"})
