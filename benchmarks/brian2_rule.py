"""The BCaLL rule in brian2's C++ standalone mode; runs in an environment of its own, started by `benchmarks.plasticity`.

python brian2_rule.py clocked|lazy GIVEN.npz RESULT.npz BUILD_DIRECTORY

Compiles once and prints `ready`. Then each line `run` on standard input is one run of the binary, answered by its run time:
CPU seconds of the loop over time steps, as brian2 itself measures them (without compilation, set-up and files). The line
`save` writes the hidden weights, the run times and the compiler's flags to RESULT.npz and ends.

Both forms are written to be fast, and give the same weights as the slower ways that were tried. Traces stand in groups of
their own and decay by brian2's exact integrator, one multiplication a step: cheaper than an exponential per event. The
synapses see them by reference, which saves relaying the spikes of a generator through a threshold. The gates that hold for all
synapses of a neuron are evaluated once per neuron. `clocked` leaves w_hid unclipped between spikes and clips it when it is
touched or read, which comes to the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import brian2
import numpy as np

FLAGS = ["-w", "-O3", "-ffast-math", "-fno-finite-math-only", "-march=native", "-std=c++11"]  # brian2's own defaults

DRIFT = "((up + down) * int(w_hid > theta_w) - down)"  # slope up above theta_w, otherwise down
FORMS = {  # form: equations, what w_hid has become when it is touched, what to remember
    "clocked": (f"dw_hid/dt = {DRIFT} : 1 (clock-driven)", "clip(w_hid, 0, 1)", ""),
    "lazy": ("w_hid : 1\nlastupdate : second", f"clip(w_hid + (t - lastupdate) * {DRIFT}, 0, 1)", "; lastupdate = t"),
}
PRE = "dx_i/dt = -x_i / tau_i : 1"
POST = """
dx_j/dt = -x_j / tau_j : 1
dx_s/dt = -x_s / tau_s : 1
rho : 1
d1 = c_d1 * int(x_j > theta_j) * int(x_s > lo) * int(x_s < hi) : 1 (constant over dt)
"""


def network(form: str, given: dict[str, Any]) -> tuple[brian2.Network, brian2.Synapses]:
    """The network and its plastic synapses."""
    posts, sources = given["w_hid"].shape
    units = {"tau_i": brian2.second, "tau_j": brian2.second, "tau_s": brian2.second, "up": brian2.Hz, "down": brian2.Hz}
    numbers = {name: float(value) * units.get(name, 1) for name, value in given.items() if value.ndim == 0}

    def trains(count: int, side: str) -> brian2.SpikeGeneratorGroup:
        times = given[f"{side}_steps"] * float(given["dt_s"]) * brian2.second
        return brian2.SpikeGeneratorGroup(count, given[f"{side}_ids"], times)

    def one_to_one(spikes: brian2.SpikeGeneratorGroup, group: brian2.NeuronGroup, code: dict[str, str]) -> brian2.Synapses:
        synapses = brian2.Synapses(spikes, group, on_pre=code, namespace=numbers)
        synapses.connect(j="i")
        return synapses

    pre, post = trains(sources, "pre"), trains(posts, "post")
    pre_traces = brian2.NeuronGroup(sources, PRE, method="exact", namespace=numbers)
    post_traces = brian2.NeuronGroup(posts, POST, method="exact", namespace=numbers)
    gate = "rho_post = int(x_s_post > lo) * int(x_s_post < hi)"
    jumps_i = one_to_one(pre, pre_traces, {"x_i": "x_i_post += a_i * (1 - x_i_post)"})
    jumps_j = one_to_one(
        post, post_traces, {"x_s": f"x_s_post += a_s * (1 - x_s_post); {gate}", "x_j": "x_j_post += a_j * (1 - x_j_post)"}
    )

    equations, now, remember = FORMS[form]
    potentiate = f"w_hid = clip({now} + rho_post * (c_p * x_i_pre + c_d2 * int(x_i_pre < theta_i)), 0, 1)"
    plastic = brian2.Synapses(
        pre, post, equations, on_pre=f"w_hid = clip({now} + d1_post, 0, 1){remember}", on_post=f"{potentiate}{remember}",
        method="euler" if form == "clocked" else None, namespace=numbers,
    )  # fmt: skip
    plastic.variables.add_reference("x_i_pre", pre_traces, "x_i", index="_synaptic_pre")
    for name in ("rho", "d1"):
        plastic.variables.add_reference(f"{name}_post", post_traces, name, index="_synaptic_post")
    plastic.connect()  # source by source
    plastic.w_hid = given["w_hid"].T.ravel()

    # Spikes at step n meet the state after n steps of decay and drift: groups come last. Pre before post, as in docs/rule.md.
    for order, path in enumerate((plastic.pre, jumps_i.x_i, jumps_j.x_s, plastic.post, jumps_j.x_j)):
        path.order = order
    net = brian2.Network(pre, post, pre_traces, post_traces, jumps_i, jumps_j, plastic)
    net.schedule = ["start", "thresholds", "synapses", "resets", "groups", "end"]
    return net, plastic


def final_weights(form: str, given: dict[str, Any], plastic: brian2.Synapses) -> np.ndarray:
    """Hidden weights at the end, shape (posts, sources)."""
    w = np.asarray(plastic.w_hid[:])
    if form == "lazy":
        since = int(given["n_steps"]) * float(given["dt_s"]) - np.asarray(plastic.lastupdate[:])
        w = w + since * np.where(w > given["theta_w"], given["up"], -given["down"])
    posts, sources = given["w_hid"].shape
    return np.clip(w, 0.0, 1.0).reshape(sources, posts).T


def main() -> None:
    form, given_path, result_path, directory = sys.argv[1:]
    with np.load(given_path) as file:
        given = dict(file)
    brian2.prefs.codegen.cpp.extra_compile_args = FLAGS
    brian2.prefs.devices.cpp_standalone.openmp_threads = 0
    brian2.set_device("cpp_standalone", build_on_run=False)
    brian2.defaultclock.dt = float(given["dt_s"]) * brian2.second
    net, plastic = network(form, given)
    net.run(int(given["n_steps"]) * float(given["dt_s"]) * brian2.second)
    brian2.device.build(directory=directory, run=False, with_output=False)
    print("ready", flush=True)
    seconds: list[float] = []
    for line in sys.stdin:
        if line.strip() == "save":
            weights = final_weights(form, given, plastic)
            np.savez(result_path, w_hid=weights, seconds=seconds, flags=" ".join(FLAGS), version=brian2.__version__)
            return
        brian2.device.run(with_output=False)
        seconds.append(float(Path(brian2.device.results_dir, "last_run_info.txt").read_text().split()[0]))
        print(seconds[-1], flush=True)


if __name__ == "__main__":
    main()
