"""How the emulator's cost grows, what a board takes in memory, and many boards at once.

python -m benchmarks.board_scaling --boards 16 --threads 2 --json

- The cost is fitted as a * neurons * steps + b * synaptic events, over boards of 1 to 4 chips, three rates and two lengths.
- The peak memory is that of a fresh process that runs one whole board for a second, everything included.
- Boards that differ in their seed run in one thread and in several; hashes must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

from bcall_hw.backend.emulator.boards import run_boards
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from benchmarks.board_load import Load, make_load
from benchmarks.contenders import Ours


def fit(seed: int, rounds: int, dt_us: int) -> dict[str, Any]:
    """Nanoseconds a neuron and step, and a synaptic event; the largest deviation of a measured time from the fit."""
    points = []
    for chips, rate_hz, sim_s in ((c, r, t) for c in (1, 2, 4) for r in (5.0, 20.0, 60.0) for t in (0.1, 0.2)):
        load = make_load(chips, 64, 1024, rate_hz, sim_s, dt_us, seed)
        contender = Ours("numba", load)
        contender.round()
        seconds = statistics.median(contender.round()["seconds"] for _ in range(rounds))
        points.append((load.neurons * load.steps, load.synaptic_events, seconds))
    neuron_steps, events, seconds_of = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    # Relative errors count alike, so every row is divided by its time.
    rows = np.column_stack([neuron_steps, events]) / seconds_of[:, None]
    cost, *_ = np.linalg.lstsq(rows, np.ones(len(points)), rcond=None)
    return {
        "ns_per_neuron_step": float(cost[0]) * 1e9, "ns_per_synaptic_event": float(cost[1]) * 1e9,
        "largest_deviation": float(np.abs(rows @ cost - 1.0).max()), "points": len(points),
    }  # fmt: skip


def many_boards(seed: int, boards: int, threads: int, rounds: int, dt_us: int) -> dict[str, Any]:
    """Time of many boards in one thread over their time in several; every board from a fresh start."""
    load = make_load(1, 64, 1024, 40.0, 0.2, dt_us, seed)
    times: dict[int, list[float]] = {1: [], threads: []}
    hashes: dict[int, list[str]] = {}
    for turn in range(rounds + 1):
        for n in (1, threads):
            opened = [_board(load, seed + k) for k in range(boards)]
            started = time.perf_counter()
            for stimulus, steps in load.parts:
                run_boards(opened, stimulus, steps * dt_us * 1e-6, n)
            if turn:  # the first is the warm-up
                times[n].append(time.perf_counter() - started)
            hashes[n] = [board.state_sha256() for board in opened]
    if hashes[1] != hashes[threads]:
        raise SystemExit("boards in threads differ from boards in one thread: nothing is reported")
    speedup = statistics.median(a / b for a, b in zip(times[1], times[threads], strict=True))
    return {
        "boards": boards,
        "threads": threads,
        "seconds": {n: statistics.median(t) for n, t in times.items()},
        "speedup": speedup,
    }


def _board(load: Load, seed: int) -> Emulator:
    board = Emulator(load.config.chip, load.config.chips, BoardProfile(seed=seed, mismatch_cv=0.2), dt_us=load.dt_us)
    board.apply(load.config)
    return board


def peak_memory_mb() -> float:
    """Of a fresh process that runs one whole board for a second."""
    script = "from benchmarks.board_scaling import one_board; one_board()"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(found.stdout)


def one_board() -> None:
    """Run a whole board and print this process's peak memory (MB)."""
    Ours("numba", make_load(4, 64, 1024, 40.0, 1.0, 100, 0)).round()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dt-us", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    result = {
        "dt_us": a.dt_us, "seed": a.seed, "rounds": a.rounds, "peak_memory_mb": peak_memory_mb(),
        "fit": fit(a.seed, a.rounds, a.dt_us), "many_boards": many_boards(a.seed, a.boards, a.threads, a.rounds, a.dt_us),
        "load": list(os.getloadavg()), "processors": os.cpu_count(),
    }  # fmt: skip
    if a.json:
        print(json.dumps(result))
        return
    cost, many = result["fit"], result["many_boards"]
    print(f"peak memory of a whole board: {result['peak_memory_mb']:.0f} MB; load average {result['load'][0]:.2f}")
    print(
        f"time = {cost['ns_per_neuron_step']:.2f} ns x neurons x steps + {cost['ns_per_synaptic_event']:.2f} ns x CAM "
        f"events ({cost['points']} loads, largest deviation {cost['largest_deviation']:.1%})"
    )
    print(f"{many['boards']} boards on {many['threads']} threads: {many['speedup']:.2f} times as fast as on one, the same bits")


if __name__ == "__main__":
    main()
