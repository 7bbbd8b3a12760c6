"""The emulator's board in brian2's C++ standalone mode, one thread; runs in an environment of its own.

python brian2_board.py LOAD.npz [--rounds N] [--writing tuned|plain]

Compiles once and runs once as a warm-up. With `--rounds` it prints one JSON line with all rounds. Without, it prints a JSON
line when it is ready; then each line `go` on standard input is one run of the binary from the start, answered by one JSON line:
`seconds` are CPU seconds of the loop over time steps, as brian2 itself measures them (without compilation, set-up and
files), `wall_seconds` the same by a clock on the wall.

Equations, order within a step and parameters are the emulator's (`docs/emulator_specification.md`) in real numbers, without
tables and words; where several events reach a synapse circuit in one step, each jumps on its own (at 100 us summing first takes
27 % longer, at 1 ms 4 % less). A pathway for each synapse type, each with the neuron's own jump and full scale. Two writings:

- `plain`: as its users write: differential equations, `euler`, brian2's refractoriness, float64, its own compiler flags.
- `tuned`: the fastest that was found. One code block a step holds the Euler step of the membrane and the decay of the five
  currents by their exact factors; float32; and g++ gets the flags with which it vectorises that block, exponentials included
  (it may check more pairs of arrays for overlap than by default, and nothing forbids finite arithmetic).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import brian2
import numpy as np
from rounds import answer

FLAGS = {
    "plain": ["-w", "-O3", "-ffast-math", "-fno-finite-math-only", "-march=native", "-std=c++11"],  # brian2's own
    "tuned": ["-w", "-O3", "-ffast-math", "-march=native", "-std=c++11", "--param=vect-max-version-for-alias-checks=1000"],
}
PICO = 1e12  # currents in pA keep single precision in range
TYPES = range(4)  # excitatory, gated, shunting, subtractive
CURRENTS = [*(f"i{k}" for k in TYPES), "i_ahp"]

NUMBERS = {"plain": np.float64, "tuned": np.float32}

TUNED = "\n".join(
    ["v : 1", "wait : integer", "steps : integer (constant)", *(f"{name} : 1" for name in CURRENTS)]
    + [f"{name} : 1 (constant)" for name in ("dc", "leak", "v_spike")]
    + [f"{part}_{name} : 1 (constant)" for name in CURRENTS for part in ("full", "jump", "keep")]
)
PLAIN = """
dv/dt = (drive / (1 + ratio * exp(v)) - leak - i2 - i_ahp + dark * exp(power * v)) * gain / dt : 1 (unless refractory)
drive = clip(dc + i0 + i1 - i3, 0, huge) : 1
refractory_time : second (constant)
""" + "\n".join(
    [f"d{name}/dt = -{name} / tau_{name} : 1" for name in CURRENTS]
    + [f"{name} : 1 (constant)" for name in ("dc", "leak", "v_spike")]
    + [f"{part}_{name} : 1 (constant)" for name in CURRENTS for part in ("full", "jump")]
    + [f"tau_{name} : second (constant)" for name in CURRENTS]
)
STEP = """
drive = clip(dc + i0 + i1 - i3, 0, huge)
v = clip(v + gain * (drive / (1 + ratio * exp(v)) - leak - i2 - i_ahp + dark * exp(power * v)), 0, huge) * int(wait <= 0)
wait = clip(wait - 1, 0, 1000000)
""" + "\n".join(f"{name} *= keep_{name}" for name in CURRENTS)
RESET = "v = 0; i_ahp += jump_i_ahp * (full_i_ahp - i_ahp)"

WALL_START = "const auto wall_start = std::chrono::steady_clock::now();"
WALL_END = "std::cout << std::chrono::duration<double>(std::chrono::steady_clock::now() - wall_start).count() << std::endl;"


def neurons(given: dict[str, Any], writing: str) -> brian2.NeuronGroup:
    """All neurons of the board."""
    dt_s, kappa = float(given["dt_us"]) * 1e-6, float(given["kappa"])
    numbers = {
        "gain": dt_s / (float(given["charge_c"]) * PICO), "ratio": float(given["i0_a"]) / float(given["i_th_a"]),
        "dark": float(given["i0_a"]) * PICO, "power": kappa / (kappa + 1.0), "huge": 1e9,
    }  # fmt: skip
    count, common = int(given["n_neurons"]), {"threshold": "v >= v_spike", "namespace": numbers, "name": "neurons"}
    if writing == "plain":
        group = brian2.NeuronGroup(count, PLAIN, method="euler", refractory="refractory_time", reset=RESET, **common)
        group.run_regularly("v = clip(v, 0, huge)", when="groups", order=1, name="floor")
        group.refractory_time = given["refractory_steps"] * dt_s * brian2.second
    else:
        group = brian2.NeuronGroup(count, TUNED, reset=f"{RESET}; wait = steps", **common)
        group.run_regularly(STEP, when="groups", name="step")
        group.steps = given["refractory_steps"]
    group.dc, group.leak, group.v_spike = given["dc_a"] * PICO, given["leak_a"] * PICO, given["v_spike"]
    for index, name in enumerate(CURRENTS):
        full, jump, decay = (
            given[f"ahp_{part}"] if name == "i_ahp" else given[part][index] for part in ("full_a", "jump", "decay")
        )
        for part, value in (("full", full * PICO), ("jump", jump)):
            setattr(group, f"{part}_{name}", value)
        if writing == "plain":
            setattr(group, f"tau_{name}", -dt_s / np.log1p(-decay) * brian2.second)
        else:
            setattr(group, f"keep_{name}", 1.0 - decay)
    return group


def inputs(given: dict[str, Any]) -> brian2.SpikeGeneratorGroup:
    """The input events. brian2 takes one event of a source in a step: a second one moves to the next step."""
    steps, ids = given["input_steps"].astype(np.int64), given["input_ids"].astype(np.int64)
    while True:
        order = np.lexsort((ids, steps))
        steps, ids = steps[order], ids[order]
        twice = np.flatnonzero((np.diff(steps) == 0) & (np.diff(ids) == 0)) + 1
        if not twice.size:
            break
        steps[twice] += 1
    times = steps * float(given["dt_us"]) * brian2.us
    return brian2.SpikeGeneratorGroup(int(given["n_inputs"]), ids, times, sorted=True, when="start")


def network(given: dict[str, Any], writing: str) -> tuple[brian2.Network, brian2.SpikeMonitor]:
    """The board and the recording of its spikes."""
    source, group = inputs(given), neurons(given, writing)
    pathways = []
    for kind in TYPES:
        used = np.flatnonzero(given["synapse_type"] == kind)
        if not used.size:
            continue
        pre, post = given["synapse_input"][used], given["synapse_neuron"][used]
        order = np.lexsort((post, pre))  # source by source
        jump = f"i{kind}_post += jump_i{kind}_post * (full_i{kind}_post - i{kind}_post)"
        pathways.append(brian2.Synapses(source, group, on_pre=jump))
        pathways[-1].connect(i=pre[order], j=post[order])
    monitor = brian2.SpikeMonitor(group)
    net = brian2.Network(source, group, *pathways, monitor)
    net.schedule = ["start", "synapses", "groups", "thresholds", "resets", "end"]
    return net, monitor


def run() -> dict[str, float]:
    """One run of the binary."""
    brian2.device.run(with_output=False)
    results = Path(brian2.device.results_dir)
    cpu, wall = ((results / name).read_text().split()[0] for name in ("last_run_info.txt", "stdout.txt"))
    return {"seconds": float(cpu), "wall_seconds": float(wall)}


def main() -> None:
    """Build, warm up, and answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("load", type=Path)
    parser.add_argument("--rounds", type=int, help="time so many rounds and end; otherwise wait for lines `go`")
    parser.add_argument("--writing", choices=tuple(FLAGS), default="tuned")
    arguments = parser.parse_args()
    with np.load(arguments.load) as file:
        given = dict(file)
    brian2.BrianLogger.log_level_error()  # it warns of the order of jumps, which does not matter: they are alike
    brian2.prefs.core.default_float_dtype = NUMBERS[arguments.writing]
    brian2.prefs.codegen.cpp.extra_compile_args = FLAGS[arguments.writing]
    brian2.prefs.codegen.cpp.headers += ["<chrono>", "<iostream>"]
    brian2.prefs.devices.cpp_standalone.openmp_threads = 0
    brian2.prefs.devices.cpp_standalone.extra_make_args_unix = ["-j2"]
    brian2.set_device("cpp_standalone", build_on_run=False)
    brian2.defaultclock.dt = float(given["dt_us"]) * brian2.us
    net, monitor = network(given, arguments.writing)
    brian2.device.insert_code("before_network_run", WALL_START)
    brian2.device.insert_code("after_network_run", WALL_END)
    net.run(float(given["sim_s"]) * brian2.second)
    with tempfile.TemporaryDirectory(prefix="bcall-brian2-") as directory:
        brian2.device.build(directory=directory, run=False, with_output=False)
        run()  # warm-up
        about = {
            "spikes": int(monitor.num_spikes), "version": brian2.__version__, "flags": " ".join(FLAGS[arguments.writing]),
            "writing": arguments.writing,
        }  # fmt: skip
        answer(run, about, arguments.rounds)


if __name__ == "__main__":
    main()
