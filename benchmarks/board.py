"""The emulated board under load, side by side with other ways to run it, in interleaved rounds of one run.

python -m benchmarks.board --dt-us 100 --chips 4 --cam 64 --inputs 1024 --rate-hz 40 --against numpy,c --json

Contenders: numba (always), numpy, reference, c (`board_reference.c`, compiled now), brian2-plain and brian2-tuned (C++
standalone, needs --brian2-python), dynapsim (rockpool, one chip; needs --dynapsim-python). Numba, numpy, reference and c
must give the same spikes and final state, or nothing is reported. A round starts from a fresh board; registers, compilation
and set-up are not timed. Ratios are medians over rounds of a contender's time over numba's in the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bcall_hw.errors import BcallError
from benchmarks import c_reference
from benchmarks.board_load import Load, make_load, write_load
from benchmarks.contenders import INTEGER, Contender, Other, Ours

OTHERS = ("brian2-plain", "brian2-tuned", "dynapsim")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Interleaved rounds of all contenders; refuses to report if the hashes of integer contenders differ."""
    a = arguments
    names = ["numba", *[name for name in a.against.split(",") if name and name != "numba"]]
    unknown = set(names) - {*INTEGER, *OTHERS}
    if unknown:
        raise SystemExit(f"no such contender: {', '.join(sorted(unknown))} (known: {', '.join((*INTEGER, *OTHERS))})")
    load = make_load(a.chips, a.cam, a.inputs, a.rate_hz, a.sim_s, a.dt_us, a.seed)
    with tempfile.TemporaryDirectory() as folder:
        contenders = {name: _contender(name, load, arguments, Path(folder) / "load.npz") for name in names}
        try:
            warm_up = {name: contender.round() for name, contender in contenders.items() if name != "reference"}
            rounds = [{name: contender.round() for name, contender in contenders.items()} for _ in range(a.rounds)]
        finally:
            for contender in contenders.values():
                contender.close()
    found = {
        name: sorted({one[name]["hash"] for one in [warm_up, *rounds] if name in one}) for name in names if name in INTEGER
    }
    if len({value for values in found.values() for value in values}) > 1:
        raise SystemExit(f"hashes differ, nothing is reported: {found}")
    seconds = {name: [one[name]["seconds"] for one in rounds] for name in names}
    sim_s, spikes = load.steps * load.dt_us * 1e-6, {name: rounds[-1][name]["spikes"] for name in names}
    return {
        "dt_us": a.dt_us, "chips": a.chips, "neurons": load.neurons, "cam": a.cam, "inputs": a.inputs, "rate_hz": a.rate_hz,
        "sim_s": round(sim_s, 9), "runs": len(load.parts), "rounds": a.rounds, "seed": a.seed,
        "synaptic_events": load.synaptic_events,
        "spikes": spikes, "mean_rate_hz": {name: count / load.neurons / sim_s for name, count in spikes.items()},
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "real_time_factor": {name: sim_s / statistics.median(values) for name, values in seconds.items()},
        "ratios": {
            f"{name}/numba": statistics.median(x / y for x, y in zip(seconds[name], seconds["numba"], strict=True))
            for name in names[1:]
        },
        "hashes": {name: values[0] for name, values in found.items()},
        "load": list(os.getloadavg()), "processors": os.cpu_count(), "python": platform.python_version(), "machine": _machine(),
        "about": {name: c.about for name, c in contenders.items() if isinstance(c, Other)} | _about_c(names),
    }  # fmt: skip


def _contender(name: str, load: Load, arguments: argparse.Namespace, file: Path) -> Contender:
    if name in INTEGER:
        return Ours(name, load)
    python = arguments.dynapsim_python if name == "dynapsim" else arguments.brian2_python
    if not python:
        option = "--dynapsim-python" if name == "dynapsim" else "--brian2-python"
        raise SystemExit(f"{name} needs {option}: `make bench-rivals` sets its environment up")
    if not file.exists():
        write_load(file, load)
    if name == "dynapsim":
        return Other(python, "dynapsim_board.py", file)
    return Other(python, "brian2_board.py", file, "--writing", name.partition("-")[2])


def _about_c(names: list[str]) -> dict[str, Any]:
    return {"c": {"compiler": c_reference.version()}} if "c" in names else {}


def _machine() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dt-us", type=int, default=100)
    parser.add_argument("--chips", type=int, default=4)
    parser.add_argument("--cam", type=int, default=64)
    parser.add_argument("--inputs", type=int, default=1024)
    parser.add_argument("--rate-hz", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sim-s", type=float, default=0.3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", help="contenders with commas between, numpy,c if not given; numba always runs")
    parser.add_argument("--brian2-python", default=os.environ.get("BCALL_BRIAN2_PYTHON", ""))
    parser.add_argument("--dynapsim-python", default=os.environ.get("BCALL_DYNAPSIM_PYTHON", ""))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.against is None:
        arguments.against = "numpy,c"
        if c_reference.compiler() is None:
            arguments.against = "numpy"
            print("no C compiler (cc, gcc or clang) on PATH: the C yardstick is left out", file=sys.stderr)
    if arguments.rounds < 1:
        raise SystemExit("limits: at least one round")
    try:
        result = measure(arguments)
    except BcallError as problem:
        raise SystemExit(str(problem)) from None
    if arguments.json:
        print(json.dumps(result))
        return
    print(
        f"{result['neurons']} neurons, {result['cam']} CAM entries each, {result['inputs']} inputs at {result['rate_hz']} Hz, "
        f"{result['dt_us']} us, {result['sim_s']:.3g} s in {result['runs']} run(s), medians of {result['rounds']} rounds, "
        f"seed {result['seed']}; load average {result['load'][0]:.2f}, {result['machine']}"
    )
    print(
        f"{'contender':14} {'s per s':>9} {'x real time':>12} {'time / numba':>13} {'rate (Hz)':>10}  hash of spikes and state"
    )
    for name, seconds in result["seconds"].items():
        ratio = result["ratios"].get(f"{name}/numba", 1.0)
        print(
            f"{name:14} {seconds / result['sim_s']:9.4f} {result['real_time_factor'][name]:12.2f} {ratio:13.2f} "
            f"{result['mean_rate_hz'][name]:10.2f}  {result['hashes'].get(name, 'no integers')[:16]}"
        )


if __name__ == "__main__":
    main()
