"""Poisson generators drive three groups of neurons at different rates; a filter in an event graph passes only some of them.

Each of the 20 neurons (chip 1, core 3) has a Poisson source of its own, and four AMPA synapses (CAM entries) that listen to it.

    board --> Dynapse1NeuronSelect --> sink of the selected neurons      (a filter node, in the graph's own thread)
          --> sink of everything                                         (directly, to compare)
"""

import argparse
import collections
import contextlib
import itertools
import json
import socket
import time

import samna
from samna.dynapse1 import Dynapse1SynType, Spike

NAME = "my_dynapse1"
CHIP, CORE, RECORD_S = 1, 3, 2.0
GROUPS = {"slow": (40.0, range(20, 28)), "medium": (80.0, range(40, 46)), "fast": (160.0, range(60, 66))}  # input rate, neurons
SELECTED = [n for _, neurons in GROUPS.values() for n in neurons[: len(neurons) // 2]]  # the filter passes half of each group
SOURCE_CORE, CAMS = 2, range(4)  # the Poisson source of neuron n spikes as if it were neuron n of core 2: source 2 * 256 + n

# All 25 biases of a silent core, (coarse, fine): no input current, a strong leak, no synaptic weight.
SILENT = {
    "IF_DC_P": (0, 0), "IF_TAU1_N": (6, 16), "IF_TAU2_N": (6, 16), "IF_THR_N": (2, 31), "IF_RFR_N": (2, 54),
    "IF_AHTAU_N": (0, 85), "IF_AHTHR_N": (0, 85), "IF_AHW_P": (0, 0), "IF_CASC_N": (0, 0), "IF_NMDA_N": (0, 0),
    "NPDPIE_TAU_F_P": (2, 27), "NPDPIE_TAU_S_P": (2, 27), "NPDPII_TAU_F_P": (2, 27), "NPDPII_TAU_S_P": (1, 106),
    "NPDPIE_THR_F_P": (2, 27), "NPDPIE_THR_S_P": (2, 27), "NPDPII_THR_F_P": (2, 27), "NPDPII_THR_S_P": (1, 106),
    "PS_WEIGHT_EXC_F_N": (0, 0), "PS_WEIGHT_EXC_S_N": (0, 0), "PS_WEIGHT_INH_F_N": (0, 0), "PS_WEIGHT_INH_S_N": (0, 0),
    "PULSE_PWLK_P": (4, 179), "IF_BUF_P": (4, 80), "R2R_P": (3, 85),
}  # fmt: skip
# What differs in the core that we use: a 20 ms membrane (5.7 pA) and the weight of the fast excitatory synapses (400 nA).
WORKING = {"IF_TAU1_N": (0, 97), "PS_WEIGHT_EXC_F_N": (5, 255)}


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


def build_graph(model) -> tuple:
    """Build and start the filter graph: return (graph, sink of the selected neurons, sink of everything)."""
    selected = samna.BufferSinkNode_dynapse1_dynapse1_event()
    everything = samna.BufferSinkNode_dynapse1_dynapse1_event()
    graph = samna.graph.EventFilterGraph()
    node_id = graph.add_filter_node("Dynapse1NeuronSelect")  # add all the nodes before the graph is started
    graph.get_node(node_id).set_neurons([CHIP * 1024 + CORE * 256 + n for n in SELECTED])  # ids over the whole board
    model.get_source_node().add_destination(graph.get_node_input(node_id))
    model.get_source_node().add_destination(everything.get_input_channel())
    graph.add_destination(node_id, selected.get_input_channel())
    graph.start()
    return graph, selected, everything


def run(model) -> dict:
    config = model.get_configuration()
    silence_all(model, config)
    for name, code in WORKING.items():
        set_bias(model, config, CHIP, CORE, name, code)
    for _, neurons in GROUPS.values():
        for neuron, cam in itertools.product(neurons, CAMS):
            synapse = config.chips[CHIP].cores[CORE].neurons[neuron].synapses[cam]
            synapse.listen_core_id, synapse.listen_neuron_id, synapse.syn_type = SOURCE_CORE, neuron, Dynapse1SynType.AMPA
    model.apply_configuration(config)
    graph, sink, sink_of_everything = build_graph(model)

    generator = model.get_poisson_gen()
    generator.set_chip_id(CHIP)  # all the sources send to one and the same chip
    for rate, neurons in GROUPS.values():
        for neuron in neurons:
            generator.write_poisson_rate_hz(SOURCE_CORE * 256 + neuron, rate)
    generator.start()
    time.sleep(0.5)  # let everything settle
    for s in (sink, sink_of_everything):
        s.get_events()  # throw away what has come so far

    time.sleep(RECORD_S)
    passed, everything = ([e for e in s.get_events() if isinstance(e, Spike)] for s in (sink, sink_of_everything))
    generator.stop()
    graph.stop()

    counts = collections.Counter(s.neuron_id for s in passed if (s.chip_id, s.core_id) == (CHIP, CORE))
    rates = {}
    for name, (_, neurons) in GROUPS.items():
        members = [n for n in neurons if n in SELECTED]
        rates[name] = sum(counts[n] for n in members) / len(members) / RECORD_S
    times = [s.timestamp for s in passed]
    return {
        "spikes": len(passed),
        "spikes_not_selected": len(passed) - sum(counts[n] for n in SELECTED),  # has to be 0
        "spikes_before_filter": len(everything),
        "rates_hz": rates,
        "neuron_rates_hz": {str(n): counts[n] / RECORD_S for n in SELECTED},
        "timestamps_sorted": times == sorted(times),
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
    print(f"{'group':<8} {'input Hz':>9} {'output Hz':>9}")
    for name, rate in result["rates_hz"].items():
        print(f"{name:<8} {GROUPS[name][0]:9.1f} {rate:9.1f}")
    print(f"{result['spikes']} spikes passed the filter, of {result['spikes_before_filter']}")
    if arguments.json:
        json.dump(result, arguments.json, indent=1)


if __name__ == "__main__":
    main()
