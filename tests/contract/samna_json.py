"""Run as `python samna_json.py REGISTERS OUTPUT`: fills samna objects from registers, and takes them through samna's JSON.

Not a test. REGISTERS holds rows of 16-bit numbers: all CAM entries (source core, source neuron, type), all SRAM entries but
the monitor's (virtual core, sy, dy, sx, dx, core mask), all biases (coarse, fine), chip by chip and core by core. OUTPUT gets
the JSON text of an object that was filled from the first object's JSON.
"""

from __future__ import annotations

import sys
from array import array
from pathlib import Path

from samna import dynapse1


def main(registers: Path, output: Path) -> None:
    values = array("H", registers.read_bytes())
    board = dynapse1.Dynapse1Configuration()  # its parts point into it: this reference outlives them all
    cores = [core for chip in board.chips for core in chip.cores]
    neurons = [neuron for core in cores for neuron in core.neurons]
    types = {int(t): t for t in dynapse1.Dynapse1SynType.__members__.values()}
    at = iter(values)
    for neuron in neurons:
        for synapse in neuron.synapses:
            synapse.listen_core_id, synapse.listen_neuron_id, synapse.syn_type = next(at), next(at), types[next(at)]
    for neuron in neurons:
        for entry in neuron.destinations[1:]:
            entry.virtual_core_id, entry.sy, entry.dy = next(at), bool(next(at)), next(at)
            entry.sx, entry.dx, entry.core_mask = bool(next(at)), next(at), next(at)
    for core in cores:
        names = sorted(core.parameter_group.param_map)
        for name in names:
            parameter = core.parameter_group.param_map[name]
            parameter.coarse_value, parameter.fine_value = next(at), next(at)
    again = dynapse1.Dynapse1Configuration()
    again.from_json(board.to_json())
    output.write_text(again.to_json())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
