"""One chip's load in rockpool's DynapSim (jax), as a user calls it; runs in an environment of its own.

python dynapsim_board.py LOAD.npz [--rounds N] [--threads 1|all]

Compiles and runs once as a warm-up. With `--rounds` it prints one JSON line with all rounds. Without, it prints a JSON line
when it is ready; then each line `go` on standard input is one run from the start, answered by one JSON line: `seconds` are CPU
seconds of all threads, `wall_seconds` the same by a clock on the wall.

It is not the same model, and is given less to do:

- One synapse circuit a neuron, linear without saturation, instead of four; so all events of the load excite. Adaptation,
  positive feedback, refractory period and mismatch are there; NMDA gate, shunting and subtractive inhibition are not.
- No CAM: it takes the number of events for each neuron and step. These are counted here beforehand, outside the timed part;
  ours finds the listeners of each event while it runs.
- DYNAP-SE2 with rockpool's default currents, and a weight that gives a mean rate like the board's. Every step costs the same,
  whatever the rate: it is dense.

The module is closed over, not an argument of the compiled function: its matrix of recurrent weights, all zero here, is then a
constant that jax removes. As an argument it is multiplied in every step, which is 100 times slower.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from rounds import answer

WEIGHT_A = 2.5e-10  # the current of one event, `Iscale`: gives some 30 Hz
MISMATCH = 0.2


def counts(given: dict[str, Any]) -> np.ndarray:
    """Events that reach each neuron in each step, shape (1, steps, neurons)."""
    steps, n_inputs = round(float(given["sim_s"]) * 1e6 / float(given["dt_us"])), int(given["n_inputs"])
    events = np.zeros((steps, n_inputs), dtype=np.float32)
    np.add.at(events, (given["input_steps"], given["input_ids"]), 1.0)
    listeners = np.zeros((n_inputs, int(given["n_neurons"])), dtype=np.float32)
    np.add.at(listeners, (given["synapse_input"], given["synapse_neuron"]), 1.0)
    return (events @ listeners)[None]


def main() -> None:
    """Compile, warm up, and answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("load", type=Path)
    parser.add_argument("--rounds", type=int, help="time so many rounds and end; otherwise wait for lines `go`")
    parser.add_argument("--threads", choices=("1", "all"), default="1")
    arguments = parser.parse_args()
    with np.load(arguments.load) as file:
        given = dict(file)
    if arguments.threads == "1":  # before jax starts; it has no pool smaller than the processors it may use
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # of samna and torch, which are not needed

    import jax
    import rockpool
    from rockpool.devices.dynapse import DynapSim

    given_counts, dt_s, sim_s = jax.numpy.asarray(counts(given)), float(given["dt_us"]) * 1e-6, float(given["sim_s"])
    neurons = int(given["n_neurons"])
    key = jax.numpy.array([0, 1], dtype=jax.numpy.uint32)
    module = DynapSim((neurons,), dt=dt_s, Iscale=WEIGHT_A, percent_mismatch=MISMATCH, rng_key=key)
    compiled = jax.jit(lambda raster: module(raster)[0])
    spikes = float(np.asarray(compiled(given_counts)).sum())  # warm-up: compile

    def run() -> dict[str, float]:
        cpu, wall = time.process_time(), time.perf_counter()
        compiled(given_counts).block_until_ready()
        return {"seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}

    about = {
        "spikes": round(spikes), "mean_rate_hz": spikes / neurons / sim_s, "events": int(given_counts.sum()),
        "version": rockpool.__version__, "jax": jax.__version__,
        "writing": f"DynapSim, one synapse type, counts as input, float32, threads: {arguments.threads}",
    }  # fmt: skip
    answer(run, about, arguments.rounds)


if __name__ == "__main__":
    main()
