"""The rule on a dense block of synapses, preset D, Poisson trains: float engine, fixed-point engine and, if given, brian2.

python -m benchmarks.plasticity --rate-hz 20 --sim-s 2 --rounds 5 --brian2-python PATH --json

Everything runs on one thread and is timed in CPU seconds, which is what brian2 reports of a standalone run. Ours hold
`advance` and reading the hidden weights; brian2's hold the loop over time steps, without compilation, set-up and files. brian2
(C++ standalone) appears twice: `clocked` integrates w_hid in every step, `lazy` evaluates its drift at spikes, written by hand
(`brian2_rule.py`).

What the figures do not say: brian2 goes step by step and could close a loop within a step, while our engines get the spikes of
a span at once; by default that is the whole run, the same work as brian2's. `--span-ms 100` is one presentation of the demo,
with the weight flips of each: dearer for ours, so quote both. An update is a synapse of a neuron that fires; ours skip the
synapses of a spike that meets a closed gate, brian2's code has no such branch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.rule.engine import PlasticityEngine
from bcall_hw.rule.fixed_engine import FixedPointEngine
from bcall_hw.rule.parameters import RuleParameters, preset
from bcall_hw.rule.synapses import SynapseEngine

FORMS = ("clocked", "lazy")
WORST_DEVIATION = 1e-6  # of a hidden weight of brian2's from the float engine's; beyond it there is no ratio
SCRIPT = Path(__file__).with_name("brian2_rule.py")
SKIPPED = (
    "brian2 skipped: no --brian2-python and no BCALL_BRIAN2_PYTHON. It needs a C++ compiler, and its own environment: "
    "python3 -m venv DIR; DIR/bin/pip install -r benchmarks/brian2-requirements.txt; then --brian2-python DIR/bin/python"
)


@dataclass(frozen=True, eq=False)
class Train:
    """Spikes on the grid, in the order of time."""

    steps: IntArray
    ids: IntArray


@dataclass(frozen=True, eq=False)
class Task:
    """What every contender gets."""

    parameters: RuleParameters
    dt_us: int
    n_steps: int
    span_steps: int
    pre: Train
    post: Train
    w_hid: FloatArray

    @property
    def updates(self) -> int:
        """Synapses touched: pre spikes times posts plus post spikes times sources."""
        posts, sources = self.w_hid.shape
        return int(len(self.pre.ids) * posts + len(self.post.ids) * sources)


def poisson_like(seed: int, stream: str, count: int, n_steps: int, rate_hz: float, dt_us: int) -> Train:
    """In every step every source fires with probability rate times dt, at most once."""
    chance = rate_hz * dt_us * 1e-6
    fired = [np.flatnonzero(random_bits.uniform(seed, f"plasticity/{stream}/{k}", n_steps) < chance) for k in range(count)]
    steps, ids = np.concatenate(fired), np.repeat(np.arange(count), [len(part) for part in fired])
    order = np.argsort(steps, kind="stable")
    return Train(steps[order].astype(np.int64), ids[order].astype(np.int64))


def make_task(a: argparse.Namespace) -> Task:
    n_steps = round(a.sim_s * 1e6 / a.dt_us)
    pre_hz, post_hz = (a.rate_hz if rate is None else rate for rate in (a.pre_rate_hz, a.post_rate_hz))
    pre = poisson_like(a.seed, "pre", a.sources, n_steps, pre_hz, a.dt_us)
    post = poisson_like(a.seed, "post", a.posts, n_steps, post_hz, a.dt_us)
    w_hid = random_bits.uniform(a.seed, "plasticity/w_hid", a.posts * a.sources).reshape(a.posts, a.sources)
    span = round(a.span_ms * 1e3 / a.dt_us) if a.span_ms else n_steps
    return Task(preset("D"), a.dt_us, n_steps, max(1, span), pre, post, w_hid)


class Ours:
    """One of our engines."""

    def __init__(self, task: Task, kind: type[PlasticityEngine] | type[FixedPointEngine]) -> None:
        self._task, self._kind = task, kind
        self.w_hid = task.w_hid

    def _fresh(self) -> SynapseEngine:
        posts, sources = self._task.w_hid.shape
        table = np.tile(np.arange(sources), (posts, 1))
        if self._kind is FixedPointEngine:
            return FixedPointEngine(self._task.parameters, table, sources, self._task.w_hid, dt_us=self._task.dt_us)
        return PlasticityEngine(self._task.parameters, table, sources, self._task.w_hid)

    def run(self) -> float:
        """CPU seconds of one run from the start."""
        task, engine = self._task, self._fresh()
        dt_s = task.dt_us * 1e-6
        spans = []
        for start in range(0, task.n_steps, task.span_steps):
            end = min(start + task.span_steps, task.n_steps)
            arguments: list[Any] = [(end - start) * dt_s]
            for train in (task.pre, task.post):
                part = slice(*np.searchsorted(train.steps, (start, end)))
                arguments += [(train.steps[part] - start) * dt_s, train.ids[part]]
            spans.append(arguments)
        started = time.process_time()
        for arguments in spans:
            engine.advance(*arguments)
        self.w_hid = engine.hidden_weights()
        return time.process_time() - started


class Brian2:
    """One form of brian2, in a process of its own that compiles once."""

    def __init__(self, task: Task, form: str, python: str, folder: Path) -> None:
        given, self._result = folder / f"{form}.given.npz", folder / f"{form}.result.npz"
        np.savez(given, **_numbers(task))
        command = [python, str(SCRIPT), form, str(given), str(self._result), str(folder / form)]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except OSError as error:
            raise SystemExit(f"brian2's Python does not start: {error}") from error
        self._form = form
        self._answer("ready")

    def _answer(self, expected: str = "") -> str:
        stdout = self._process.stdout
        line = stdout.readline().strip() if stdout else ""
        if not line or (expected and line != expected):
            raise SystemExit(f"brian2 {self._form} failed (its message is above): answered {line!r}")
        return line

    def run(self) -> float:
        """CPU seconds of one run from the start."""
        print("run", file=self._process.stdin, flush=True)
        return float(self._answer())

    def finish(self) -> dict[str, Any]:
        """Weights, flags and version; ends the process."""
        self._process.communicate("save\n")
        if self._process.returncode:
            raise SystemExit(f"brian2 {self._form} failed (its message is above)")
        with np.load(self._result) as file:
            return dict(file)


def _numbers(task: Task) -> dict[str, Any]:
    """The task under the names that `brian2_rule.py` uses."""
    p = task.parameters
    stop, drift = p.stop_learning, p.bistability
    if stop is None or drift is None or p.gate_silent_pre:
        raise SystemExit("the brian2 script knows the rule with stop-learning and bistability, without gate_silent_pre")
    return {
        "tau_i": p.tau_i_s, "tau_j": p.tau_j_s, "tau_s": stop.tau_s, "a_i": p.a_i, "a_j": p.a_j, "a_s": stop.a,
        "theta_i": p.theta_i, "theta_j": p.theta_j, "lo": stop.theta_lo, "hi": stop.theta_hi, "theta_w": p.theta_w,
        "c_p": p.c_p, "c_d1": p.c_d1, "c_d2": p.c_d2, "up": drift.alpha / drift.tau_w_s, "down": drift.beta / drift.tau_w_s,
        "dt_s": task.dt_us * 1e-6, "n_steps": task.n_steps, "w_hid": task.w_hid,
        "pre_steps": task.pre.steps, "pre_ids": task.pre.ids, "post_steps": task.post.steps, "post_ids": task.post.ids,
    }  # fmt: skip


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Interleaved rounds of all contenders, each from the same start; no ratio for a form of brian2 that deviates."""
    task = make_task(arguments)
    ours = {"float": Ours(task, PlasticityEngine), "fixed": Ours(task, FixedPointEngine)}
    with tempfile.TemporaryDirectory(prefix="bcall-brian2-") as folder:
        theirs: dict[str, Brian2] = {}
        if arguments.brian2_python:
            print("compiling brian2's two forms ...", file=sys.stderr)
            theirs = {f"brian2 {form}": Brian2(task, form, arguments.brian2_python, Path(folder)) for form in FORMS}
        contenders: dict[str, Ours | Brian2] = {**ours, **theirs}
        for contender in contenders.values():  # warm-up: compile, fill caches
            contender.run()
        load_before = list(os.getloadavg())
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(arguments.rounds):
            for name, contender in contenders.items():
                seconds[name].append(contender.run())
        results = {name: contender.finish() for name, contender in theirs.items()}
    weights = {name: contender.w_hid for name, contender in ours.items()} | {n: r["w_hid"] for n, r in results.items()}
    deviations = {n: float(np.max(np.abs(w - weights["float"]), initial=0.0)) for n, w in weights.items() if n != "float"}
    refused = [name for name in theirs if not deviations[name] <= WORST_DEVIATION]
    ratios = {
        f"{name}/{base}": statistics.median(a / b for a, b in zip(seconds[name], seconds[base], strict=True))
        for base in ours
        for name in contenders
        if name not in (base, *refused) and (name, base) != ("float", "fixed")
    }
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    posts, sources = task.w_hid.shape
    result: dict[str, Any] = {
        "sources": sources, "posts": posts, "synapses": task.w_hid.size, "dt_us": task.dt_us,
        "sim_s": arguments.sim_s, "span_ms": task.span_steps * task.dt_us * 1e-3, "rounds": arguments.rounds,
        "seed": arguments.seed, "updates": task.updates,
        "pre_rate_hz": len(task.pre.ids) / sources / arguments.sim_s,
        "post_rate_hz": len(task.post.ids) / posts / arguments.sim_s,
        "cpu_seconds": medians,
        "real_time_factor": {name: arguments.sim_s / value for name, value in medians.items()},
        "ns_per_update": {name: value / max(1, task.updates) * 1e9 for name, value in medians.items()},
        "ratios": ratios, "worst_deviation_from_float": deviations, "load_before": load_before, "load": list(os.getloadavg()),
        "processors": os.cpu_count(), "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
    }  # fmt: skip
    if results:
        one = results[f"brian2 {FORMS[0]}"]
        result |= {"brian2_version": str(one["version"]), "brian2_flags": str(one["flags"])}
    else:
        result["skipped"] = SKIPPED
    if refused:
        result["refused"] = f"no ratio for {', '.join(refused)}: hidden weights deviate by more than {WORST_DEVIATION}"
    return result


def show(result: dict[str, Any]) -> None:
    """The contenders as a table, then everything else."""
    columns = ("cpu_seconds", "real_time_factor", "ns_per_update")
    print(f"{'':16}{'CPU s':>10}{'x real time':>13}{'ns/update':>11}{'ratio to float':>16}{'to fixed':>10}{'deviation':>12}")
    for name in result["cpu_seconds"]:
        seconds, factor, update = (result[column][name] for column in columns)
        found = (result["ratios"].get(f"{name}/{base}") for base in ("float", "fixed"))
        ratio = ["" if value is None else f"{value:.2f}" for value in found]
        worst = result["worst_deviation_from_float"].get(name)
        deviation = "" if worst is None else f"{worst:.1e}"
        print(f"{name:16}{seconds:10.4f}{factor:13.1f}{update:11.2f}{ratio[0]:>16}{ratio[1]:>10}{deviation:>12}")
    for name, value in result.items():
        if name not in (*columns, "ratios", "worst_deviation_from_float"):
            print(f"{name:16} {value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=784)
    parser.add_argument("--posts", type=int, default=200)
    parser.add_argument("--rate-hz", type=float, default=20.0, help="of sources and post neurons, unless the next two say more")
    parser.add_argument("--pre-rate-hz", type=float)
    parser.add_argument("--post-rate-hz", type=float)
    parser.add_argument("--dt-us", type=int, default=100)
    parser.add_argument("--sim-s", type=float, default=2.0)
    parser.add_argument("--span-ms", type=float, default=0.0, help="spikes that our engines get at once; 0: all of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--brian2-python", default=os.environ.get("BCALL_BRIAN2_PYTHON"), help="Python that has brian2 2.9.0")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments)
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
