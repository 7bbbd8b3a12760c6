"""Run as `python samna_probe.py OUTPUT`: writes what fresh samna DYNAP-SE1 objects hold to OUTPUT as JSON.

Not a test. It imports samna, prints samna's two lines, and may die by a signal; the fixture `samna_facts` runs it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from samna import dynapse1

COARSE_VALUES, FINE_VALUES = 8, 256  # a coarse value of 8 or more crashes samna


def sizes(board: Any) -> dict[str, list[int]]:
    """The different lengths that each level of a board has."""
    chips = list(board.chips)
    cores = [core for chip in chips for core in chip.cores]
    neurons = [neuron for core in cores for neuron in core.neurons]
    return {
        "chips": [len(chips)],
        "cores": sorted({len(chip.cores) for chip in chips}),
        "neurons": sorted({len(core.neurons) for core in cores}),
        "cam_entries": sorted({len(neuron.synapses) for neuron in neurons}),
        "sram_entries": sorted({len(neuron.destinations) for neuron in neurons}),
    }


def bias_defaults(core: Any) -> dict[str, dict[str, Any]]:
    """Name, code and transistor type of each bias of a core."""
    parameters = core.parameter_group.param_map.items()
    return {
        key: {"name": p.param_name, "coarse": p.coarse_value, "fine": p.fine_value, "type": p.type} for key, p in parameters
    }


def current_table(core: Any) -> dict[str, list[list[float]]]:
    """samna's current of every code of every bias, in samna's unit: [coarse][fine] by name. Changes the core."""
    group = core.parameter_group
    table = {}
    for name, parameter in group.param_map.items():  # the parameters point into the core; the dict itself is a copy
        table[name] = [[_current(group, name, parameter, c, f) for f in range(FINE_VALUES)] for c in range(COARSE_VALUES)]
    return table


def _current(group: Any, name: str, parameter: Any, coarse: int, fine: int) -> float:
    parameter.coarse_value, parameter.fine_value = coarse, fine
    return float(group.get_linear_parameter(name))


def main(output: Path) -> None:
    board = dynapse1.Dynapse1Configuration()  # its parts point into it: this reference outlives them all
    first = board.chips[0].cores[0]
    facts = {
        "sizes": sizes(board),
        "biases": [bias_defaults(core) for chip in board.chips for core in chip.cores],
        "monitor_targets": [d.target_chip_id for d in first.neurons[0].destinations],
        "synapse_types": {name: member.value for name, member in dynapse1.Dynapse1SynType.__members__.items()},
        "currents": current_table(first),
    }
    output.write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
