"""The F-I curve of silicon neurons: the mean rate of 16 neurons (chip 2, core 0) against their constant input current, IF_DC_P.

Biases belong to a whole core, so all its 256 neurons get the current. Each neuron has a bit that chooses between two leaks:
here the 16 keep the first one (a 20 ms membrane), the others get the second one, so strong that they stay silent.
"""

import argparse
import contextlib
import itertools
import json
import socket
import time

import samna
from samna.dynapse1 import Spike

NAME = "my_dynapse1"
CHIP, CORE, NEURONS = 2, 0, range(16)
SETTLE_S, RECORD_S = 0.2, 0.5
DC_CODES = [(3, fine) for fine in range(20, 241, 20)]  # IF_DC_P, (coarse, fine): 12 points, 0.5 to 6.1 nA

# All 25 biases of a silent core, (coarse, fine): no input current, a strong leak, no synaptic weight.
SILENT = {
    "IF_DC_P": (0, 0), "IF_TAU1_N": (6, 16), "IF_TAU2_N": (6, 16), "IF_THR_N": (2, 31), "IF_RFR_N": (2, 54),
    "IF_AHTAU_N": (0, 85), "IF_AHTHR_N": (0, 85), "IF_AHW_P": (0, 0), "IF_CASC_N": (0, 0), "IF_NMDA_N": (0, 0),
    "NPDPIE_TAU_F_P": (2, 27), "NPDPIE_TAU_S_P": (2, 27), "NPDPII_TAU_F_P": (2, 27), "NPDPII_TAU_S_P": (1, 106),
    "NPDPIE_THR_F_P": (2, 27), "NPDPIE_THR_S_P": (2, 27), "NPDPII_THR_F_P": (2, 27), "NPDPII_THR_S_P": (1, 106),
    "PS_WEIGHT_EXC_F_N": (0, 0), "PS_WEIGHT_EXC_S_N": (0, 0), "PS_WEIGHT_INH_F_N": (0, 0), "PS_WEIGHT_INH_S_N": (0, 0),
    "PULSE_PWLK_P": (4, 179), "IF_BUF_P": (4, 80), "R2R_P": (3, 85),
}  # fmt: skip
# What differs in the core that we use: a 20 ms membrane (5.7 pA) and its gain (50 pA). The refractory time is 2 ms (174 pA).
WORKING = {"IF_TAU1_N": (0, 97), "IF_THR_N": (1, 121)}


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


def record(sink, seconds: float) -> list:
    """Empty the sink, wait, return the spikes that came meanwhile."""
    sink.get_events()
    time.sleep(seconds)
    return [e for e in sink.get_events() if isinstance(e, Spike)]


def run(model) -> dict:
    sink = samna.BufferSinkNode_dynapse1_dynapse1_event()
    model.get_source_node().add_destination(sink.get_input_channel())
    config = model.get_configuration()
    silence_all(model, config)
    for name, code in WORKING.items():
        set_bias(model, config, CHIP, CORE, name, code)
    api = model.get_dynapse1_api()
    for neuron in range(256):
        if neuron not in NEURONS:
            api.set_tau_2(CHIP, CORE * 256 + neuron)  # from the first leak, IF_TAU1_N, to the second, IF_TAU2_N

    curve, rates, elsewhere, times = [], {}, 0, []
    for coarse, fine in DC_CODES:
        set_bias(model, config, CHIP, CORE, "IF_DC_P", (coarse, fine))
        time.sleep(SETTLE_S)
        spikes = record(sink, RECORD_S)
        ours = [s for s in spikes if (s.chip_id, s.core_id) == (CHIP, CORE) and s.neuron_id in NEURONS]
        rate = len(ours) / len(NEURONS) / RECORD_S
        units = config.chips[CHIP].cores[CORE].parameter_group.get_linear_parameter("IF_DC_P")  # in steps of 10 fA
        curve.append({"coarse": coarse, "fine": fine, "input_na": units * 1e-5, "rate_hz": rate, "spikes": len(ours)})
        rates[f"{coarse},{fine}"] = rate
        elsewhere += len(spikes) - len(ours)
        times += [s.timestamp for s in spikes]
    set_bias(model, config, CHIP, CORE, "IF_DC_P", (0, 0))
    return {
        "spikes": sum(point["spikes"] for point in curve),
        "spikes_elsewhere": elsewhere,  # has to be 0
        "rates_hz": rates,
        "curve": curve,
        "timestamps_sorted": times == sorted(times),
        "spikes_after": len(record(sink, SETTLE_S)),
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
    print(f"{'IF_DC_P':>8} {'nA':>7} {'mean Hz':>8}")
    for point in result["curve"]:
        print(f"{point['coarse']:>4},{point['fine']:>3} {point['input_na']:>7.3f} {point['rate_hz']:>8.1f}")
    print(f"{result['spikes']} spikes, {result['spikes_elsewhere']} more from other neurons")
    if arguments.json:
        json.dump(result, arguments.json, indent=1)


if __name__ == "__main__":
    main()
