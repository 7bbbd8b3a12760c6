"""A small DYNAP-SE1 network, wired by hand: FPGA spike generator -> ten neurons -> a relay -> feed-forward inhibition.

    FPGA source --AMPA--> 10 neurons (chip 0, core 1) --AMPA--> RELAY --GABA_B--> INHIBITED
                                                      --AMPA--> INHIBITED and CONTROL     (all three: chip 0, core 2)

The first of the ten listens to the source with one synapse (CAM entry), the second with two, and so on: a weight is a number of
CAM entries. INHIBITED and CONTROL get the same excitation, so their difference is the inhibition.
"""

import argparse
import collections
import contextlib
import itertools
import json
import socket
import time

import samna
from samna.dynapse1 import Dynapse1SynType, FpgaSpikeEvent, Spike

NAME = "my_dynapse1"
CHIP, FIRST_CORE, SECOND_CORE = 0, 1, 2
SOURCE = 3 * 256 + 50  # spikes as if from neuron 50 of core 3; never use core 0 neuron 0: all the unused CAMs listen to it
NEURONS, RELAY, INHIBITED, CONTROL = range(10, 20), 100, 101, 102  # ten in FIRST_CORE, three in SECOND_CORE
RATE_HZ, STIMULUS_S, RECORD_S = 100, 1.0, 1.5

# All 25 biases of a silent core, (coarse, fine): no input current, a strong leak, no synaptic weight.
SILENT = {
    "IF_DC_P": (0, 0), "IF_TAU1_N": (6, 16), "IF_TAU2_N": (6, 16), "IF_THR_N": (2, 31), "IF_RFR_N": (2, 54),
    "IF_AHTAU_N": (0, 85), "IF_AHTHR_N": (0, 85), "IF_AHW_P": (0, 0), "IF_CASC_N": (0, 0), "IF_NMDA_N": (0, 0),
    "NPDPIE_TAU_F_P": (2, 27), "NPDPIE_TAU_S_P": (2, 27), "NPDPII_TAU_F_P": (2, 27), "NPDPII_TAU_S_P": (1, 106),
    "NPDPIE_THR_F_P": (2, 27), "NPDPIE_THR_S_P": (2, 27), "NPDPII_THR_F_P": (2, 27), "NPDPII_THR_S_P": (1, 106),
    "PS_WEIGHT_EXC_F_N": (0, 0), "PS_WEIGHT_EXC_S_N": (0, 0), "PS_WEIGHT_INH_F_N": (0, 0), "PS_WEIGHT_INH_S_N": (0, 0),
    "PULSE_PWLK_P": (4, 179), "IF_BUF_P": (4, 80), "R2R_P": (3, 85),
}  # fmt: skip
# What differs in the cores of the network: a 20 ms membrane (5.7 pA) and the weights (750 nA; 100 nA and, inhibitory, 300 nA).
FIRST = {"IF_TAU1_N": (0, 97), "PS_WEIGHT_EXC_F_N": (6, 60)}
SECOND = {"IF_TAU1_N": (0, 97), "PS_WEIGHT_EXC_F_N": (5, 64), "PS_WEIGHT_INH_S_N": (5, 191)}


def open_board() -> tuple:
    """Start the samna nodes on two free ports, open the first board; return (model, the local node, which must be kept)."""
    with socket.create_server(("", 0)) as a, socket.create_server(("", 0)) as b:
        rx, tx = (f"tcp://0.0.0.0:{s.getsockname()[1]}" for s in (a, b))
    node = samna.SamnaNode(tx, rx, 2)
    samna.setup_local_node(rx, tx, 3)
    for _ in range(5):
        with contextlib.suppress(Exception):  # the first attempt often times out
            samna.open_remote_node(2, "device_node")
            break
    controller = samna.device_node.DeviceController
    controller.open_device(controller.get_unopened_devices()[0], NAME)
    return getattr(samna.device_node, NAME), node


def silence_all(model, config) -> None:
    """Write all the biases of all the cores: after opening, the default input current makes every neuron fire."""
    for chip, core in itertools.product(range(4), range(4)):
        group = config.chips[chip].cores[core].parameter_group
        for name, code in SILENT.items():
            group.param_map[name].coarse_value, group.param_map[name].fine_value = code
        model.update_parameter_group(group, chip, core)


def set_bias(model, config, chip: int, core: int, name: str, code: tuple[int, int]) -> None:
    """Write one bias of a core."""
    parameter = config.chips[chip].cores[core].parameter_group.param_map[name]
    parameter.coarse_value, parameter.fine_value = code
    model.update_single_parameter(parameter, chip, core)


def listen(config, core: int, neuron: int, cams: range, source_core: int, source_neuron: int, syn_type) -> None:
    """Let the CAM entries `cams` of a neuron listen to a source."""
    for cam in cams:
        synapse = config.chips[CHIP].cores[core].neurons[neuron].synapses[cam]
        synapse.listen_core_id, synapse.listen_neuron_id, synapse.syn_type = source_core, source_neuron, syn_type


def send(config, core: int, neuron: int, target_core: int) -> None:
    """Send the spikes of a neuron to a core of the same chip. Destination 0 is the USB monitor: leave it as it is."""
    destination = config.chips[CHIP].cores[core].neurons[neuron].destinations[1]
    destination.target_chip_id, destination.core_mask, destination.virtual_core_id = CHIP, 1 << target_core, core
    destination.in_use = True


def run(model) -> dict:
    sink = samna.BufferSinkNode_dynapse1_dynapse1_event()
    model.get_source_node().add_destination(sink.get_input_channel())
    config = model.get_configuration()
    silence_all(model, config)
    for core, biases in ((FIRST_CORE, FIRST), (SECOND_CORE, SECOND)):
        for name, code in biases.items():
            set_bias(model, config, CHIP, core, name, code)

    ampa, gaba_b = Dynapse1SynType.AMPA, Dynapse1SynType.GABA_B
    for k, neuron in enumerate(NEURONS):
        listen(config, FIRST_CORE, neuron, range(k + 1), SOURCE >> 8, SOURCE & 255, ampa)  # k + 1 synapses
        send(config, FIRST_CORE, neuron, SECOND_CORE)
        for target in (RELAY, INHIBITED, CONTROL):
            listen(config, SECOND_CORE, target, range(k, k + 1), FIRST_CORE, neuron, ampa)
    listen(config, SECOND_CORE, INHIBITED, range(20, 22), SECOND_CORE, RELAY, gaba_b)  # two inhibitory synapses
    send(config, SECOND_CORE, RELAY, SECOND_CORE)
    model.apply_configuration(config)

    generator = model.get_fpga_spike_gen()
    generator.set_variable_isi_mode(True)  # before preload_stimulus, or the intervals are not sent
    event = FpgaSpikeEvent(1 << FIRST_CORE, SOURCE, CHIP, 1_000_000 // RATE_HZ)  # core mask, source, chip, interval
    generator.preload_stimulus([event] * int(RATE_HZ * STIMULUS_S))
    generator.set_isi_multiplier(90)  # 90 ticks of the 90 MHz clock: intervals in microseconds
    generator.set_repeat_mode(False)
    time.sleep(0.5)  # let everything settle
    model.get_dynapse1_api().reset_timestamp()
    sink.get_events()  # throw away what has come so far

    generator.start()
    time.sleep(RECORD_S)
    generator.stop()
    spikes = [e for e in sink.get_events() if isinstance(e, Spike)]

    every = collections.Counter((s.chip_id, s.core_id, s.neuron_id) for s in spikes)
    wanted = [(CHIP, FIRST_CORE, n) for n in NEURONS] + [(CHIP, SECOND_CORE, n) for n in (RELAY, INHIBITED, CONTROL)]
    times = [s.timestamp for s in spikes]
    return {
        "spikes": len(spikes),
        "spikes_elsewhere": len(spikes) - sum(every[n] for n in wanted),
        "rates_hz": {"chip {} core {} neuron {}".format(*n): every[n] / STIMULUS_S for n in wanted},
        "timestamps_sorted": times == sorted(times),
        "first_and_last_us": [times[0], times[-1]] if times else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE", type=argparse.FileType("w"), help="write the figures to FILE")
    arguments = parser.parse_args()
    model, _node = open_board()
    try:
        result = run(model)
    finally:
        samna.device_node.DeviceController.close_device(NAME)
    for name, rate in result["rates_hz"].items():
        print(f"{name:<26} {rate:7.1f} Hz")
    print(f"{result['spikes']} spikes, {result['spikes_elsewhere']} of them from other neurons")
    if arguments.json:
        json.dump(result, arguments.json, indent=1)


if __name__ == "__main__":
    main()
