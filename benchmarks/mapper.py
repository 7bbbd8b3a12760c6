"""The mapper on random networks of 1 to 4,096 neurons, each result proved by an oracle of its own; and how long it takes.

python -m benchmarks.mapper --networks 10000 --seed 0 --jobs 2 --json
python -m benchmarks.mapper --time

A mapped network must deliver what was asked, from the registers alone, and read back as the same network; a refused one must
be impossible by a bound that shares no code with the mapper (`refused_proved`), or name the limit that it broke with numbers
(`refused_named`). `mismatches` counts differing deliveries, unnamed refusals and maps of what cannot fit. Networks that fit by
construction and were refused are told apart (`refused_though_fits`): they are no mismatch, and the measure of the mapper.
"""

from __future__ import annotations

import argparse
import inspect
import json
import resource
import statistics
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from bcall_hw.chip_model import load_chip
from bcall_hw.errors import NetworkDoesNotFit
from bcall_hw.mapper import MappedNetwork, map_network
from bcall_hw.network import Connection, Input, Network, Population, RandomFanIn
from benchmarks.mapper_networks import Chips, neuron, random_case
from benchmarks.mapper_oracle import mismatches, names_limits, proof_of_refusal

ALL = (0, 1, 2, 3)
#: An older mapper has to be told its chips.
FINDS_CHIPS = inspect.signature(map_network).parameters["chips"].default is None


@dataclass
class Result:
    """What became of one network.

    Attributes:
        outcome: mapped, proved, named, unnamed or error.
        seconds: that the mapper took.
        mismatches: lines of the oracle.
    """

    seed: int
    style: str
    outcome: str = "mapped"
    fits: bool | None = None
    neurons: int = 0
    seconds: float = 0.0
    mismatches: list[str] = field(default_factory=list)
    said: str = ""


def mapped_on(network: Network, chips: Chips) -> MappedNetwork:
    """The network on the chips that it may use."""
    return map_network(network, "dynapse1", chips=chips if chips is not None or FINDS_CHIPS else ALL)


def judge(seed: int) -> Result:
    """Make, map and prove the network of one seed."""
    result = Result(seed, "")
    try:
        case = random_case(seed)
        result.style, result.fits = case.style, case.fits
        result.neurons = sum(p.size for p in case.network.populations)
        start = time.perf_counter()
        try:
            mapped = mapped_on(case.network, case.chips)
        except NetworkDoesNotFit as refusal:
            result.seconds = time.perf_counter() - start
            proof = proof_of_refusal(case.network, refusal.violations, case.chips)
            named = names_limits(refusal.violations)
            result.outcome = "unnamed" if not named else "proved" if proof else "named"
            result.said = proof or str(refusal).splitlines()[1].strip()
            if not named:
                result.mismatches = [f"the refusal names no limit: {result.said}"]
            return result
        result.seconds = time.perf_counter() - start
        result.mismatches = mismatches(mapped, network=case.network, chips=case.chips)
        proof = proof_of_refusal(case.network, chips=case.chips)
        if proof:
            result.mismatches.append(f"mapped, and it cannot fit: {proof}")
    except Exception:
        result.outcome, result.said = "error", traceback.format_exc(limit=-3).strip()
    return result


def judge_all(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    """The results of all seeds, in their order."""
    if jobs == 1:
        yield from map(judge, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(judge, seeds, chunksize=4)


def summary(results: list[Result], seconds: float) -> dict[str, Any]:
    """What the benchmark reports."""
    outcomes = Counter(r.outcome for r in results)
    slowest = max(results, key=lambda r: r.seconds)
    return {
        "networks": len(results),
        "mapped": outcomes["mapped"],
        "refused": outcomes["proved"] + outcomes["named"] + outcomes["unnamed"],
        "mismatches": sum(len(r.mismatches) for r in results),
        "seconds": round(seconds, 3),
        "refused_proved": outcomes["proved"],
        "refused_named": outcomes["named"],
        "named_seeds": [r.seed for r in results if r.outcome == "named"],
        "errors": [{"seed": r.seed, "error": r.said} for r in results if r.outcome == "error"],
        "slowest_s": round(slowest.seconds, 4),
        "slowest_seed": slowest.seed,
        "map_seconds": round(sum(r.seconds for r in results), 3),
        "mismatch_seeds": [r.seed for r in results if r.mismatches],
        "refused_though_fits": [r.seed for r in results if r.fits and r.outcome in ("proved", "named", "unnamed")],
    }


def table(results: list[Result], found: dict[str, Any]) -> str:
    """The same for people: one line for each style."""
    columns = ("networks", "mapped", "proved", "named", "though fits", "mismatches", "errors", "map s, median", "slowest")
    lines = [f"{'style':22}" + "".join(f"{name:>15}" for name in columns)]
    for style in [*sorted({r.style for r in results}), ""]:
        mine = [r for r in results if style in ("", r.style)]
        outcomes = Counter(r.outcome for r in mine)
        seconds = [r.seconds for r in mine]
        values: tuple[Any, ...] = (
            len(mine), outcomes["mapped"], outcomes["proved"], outcomes["named"],
            sum(bool(r.fits) and r.outcome != "mapped" for r in mine), sum(len(r.mismatches) for r in mine), outcomes["error"],
            f"{statistics.median(seconds):.4f}", f"{max(seconds):.3f}",
        )  # fmt: skip
        lines.append(f"{style or 'all':22}" + "".join(f"{value:>15}" for value in values))
    lines.append(f"{found['seconds']} s in all, {found['map_seconds']} s of them in the mapper")
    return "\n".join(lines)


# How long it takes ----------------------------------------------------------------------------------------------------


def full_network(neurons: int) -> Network:
    """Neurons of full chips with 64 CAM entries each: 60 random sources of their chip, and 4 of its 16 inputs."""
    parts: dict[str, list[Any]] = {"inputs": [], "populations": [], "connections": []}
    for chip in range(neurons // 1024):
        drive, name = f"in{chip}", f"p{chip}"
        parts["inputs"].append(Input(name=drive, size=16))
        parts["populations"].append(Population(name=name, size=1024, neuron=neuron()))
        within = RandomFanIn(fan_in=60, seed=chip, candidates=tuple(range(1, 961)))
        more = RandomFanIn(fan_in=4, seed=chip)
        parts["connections"].append(Connection(name=f"r{chip}", source=name, target=name, synapse="NMDA", rule=within))
        parts["connections"].append(Connection(name=f"d{chip}", source=drive, target=name, synapse="AMPA", rule=more))
    return Network(name=f"full-{neurons}", **parts)


def time_here(neurons: int, rounds: int) -> dict[str, Any]:
    """Times of one size in this process, and its peak memory; both before the oracle proves the last result."""
    network, chip, seconds, refused = full_network(neurons), load_chip("dynapse1"), [], ""
    before = _peak_mb()
    mapped = None
    for _ in range(rounds):
        start = time.perf_counter()
        try:
            mapped = map_network(network, chip, chips=None if FINDS_CHIPS else ALL)
        except NetworkDoesNotFit as refusal:
            refused = f"{len(refusal.violations)} violations, the first: {refusal.violations[0]}"
        seconds.append(time.perf_counter() - start)
    values: dict[str, Any] = {
        "neurons": neurons,
        "cam": 64,
        "rounds": rounds,
        "seconds": statistics.median(seconds),
        "first_s": seconds[0],
    }
    values |= {"peak_mb": round(_peak_mb(), 1), "before_mb": round(before, 1), "refused": refused}
    return values | {"mismatches": len(mismatches(mapped, network=network)) if mapped is not None else None}


def _peak_mb() -> float:
    """Largest resident memory of this process so far (MB)."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


def time_apart(neurons: int, rounds: int) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.mapper", "--time-one", str(neurons), "--rounds", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first network; the others follow")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--time", action="store_true", help="time 1,024 and 4,096 neurons with 64 CAM entries each instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--time-one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.networks < 1 or arguments.jobs < 1 or arguments.rounds < 1:
        raise SystemExit("limits: at least one network, job and round")
    if arguments.time_one:
        print(json.dumps(time_here(arguments.time_one, arguments.rounds)))
        return
    if arguments.time:
        times = [time_apart(neurons, arguments.rounds) for neurons in (1024, 4096)]
        if arguments.json:
            print(json.dumps({"time": times}))
            return
        for one in times:
            end = one["refused"] or f"{one['mismatches']} mismatches"
            took = f"{one['seconds']:.3f} s, median of {one['rounds']} (first {one['first_s']:.3f} s)"
            print(f"{one['neurons']} x {one['cam']}: {took}, peak {one['peak_mb']} MB ({one['before_mb']} MB before); {end}")
        return
    start, results = time.perf_counter(), []
    for result in judge_all(range(arguments.seed, arguments.seed + arguments.networks), arguments.jobs):
        results.append(result)
        for line in result.mismatches[:3] or ([result.said] if result.outcome == "error" else []):
            print(f"seed {result.seed} ({result.style}): {line}", file=sys.stderr)
        if len(results) % 100 == 0 or len(results) == arguments.networks:
            done = Counter(r.outcome for r in results)
            print(f"{len(results)} of {arguments.networks}: {dict(done)}, {time.perf_counter() - start:.0f} s", file=sys.stderr)
    found = summary(results, time.perf_counter() - start)
    print(json.dumps(found) if arguments.json else table(results, found))


if __name__ == "__main__":
    main()
