"""How often a comparison tells boards apart that differ, and how often ones that do not; and how fast it is on a whole board.

python -m benchmarks.comparison --pairs 200 --seed 0          # power and false alarms, on emulated boards
python -m benchmarks.comparison --pairs 200 --events          # under a list of events, with neurons that fire by themselves
python -m benchmarks.comparison --large                       # 4,096 neurons, 60 s, 30 Hz on each side: write, compare, page
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_model import load_chip
from bcall_hw.compare.page import write_page
from bcall_hw.compare.run import compare
from bcall_hw.compare.settings import Settings
from bcall_hw.mapper import MappedNetwork, map_network
from bcall_hw.network import Connection, Input, Network, NeuronParameters, Population, RandomFanIn, SynapseParameters
from bcall_hw.record import made_by, record, repeats
from bcall_hw.recording import SPIKE_DTYPE
from bcall_hw.recording.made import Made
from bcall_hw.recording.session import Session
from bcall_hw.recording.writer import SessionWriter
from bcall_hw.stimulus import Stimulus

CHIP = load_chip("dynapse1")
_NOISE_A = 2e-12


def network(size: int, dc_a: float, poisson: bool) -> Network:
    """Poisson inputs, or ones that play lists, onto a population that also excites itself."""
    neuron = NeuronParameters(
        tau_s=0.02, refractory_s=0.003, gain_a=1e-9, pulse_width_s=2e-5, dc_a=dc_a,
        synapses={"AMPA": SynapseParameters(tau_s=0.01, weight_a=3e-11), "NMDA": SynapseParameters(tau_s=0.05, weight_a=1e-12)},
    )  # fmt: skip
    within = RandomFanIn(fan_in=min(20, size // 2), seed=2)
    return Network(
        name="two_boards", inputs=[Input(name="in", size=20, poisson=poisson)],
        populations=[Population(name="out", size=size, neuron=neuron)],
        connections=[
            Connection(name="drive", source="in", target="out", synapse="AMPA", rule=RandomFanIn(fan_in=10, seed=1)),
            Connection(name="recurrent", source="out", target="out", synapse="NMDA", rule=within),
        ],
    )  # fmt: skip


def stimulus(mapped: MappedNetwork, options: argparse.Namespace) -> Stimulus:
    """Poisson rates; or events at random times, the same in each repeat."""
    if not options.events:
        return mapped.stimulus({}, rates_hz={"in": options.rate_hz})
    rng = np.random.default_rng(options.seed)
    sources = np.repeat(np.arange(20), rng.poisson(options.rate_hz * options.duration_s, 20))
    times_us = rng.integers(1, round(options.duration_s * 1e4), len(sources)) * 100.0
    return mapped.stimulus({"in": (sources, times_us)})


def session(
    mapped: MappedNetwork, profile: BoardProfile, times: int, folder: Path, name: str, options: argparse.Namespace
) -> Session:
    """Repeats on an emulated board; the whole protocol so many times, with the same rests each time."""
    path = folder / f"{name}.h5"
    path.unlink(missing_ok=True)
    board = Emulator(CHIP, mapped.config.chips, profile)
    duration_us, jitter_us = round(options.duration_s * 1e6), round(options.rest_jitter_s * 1e6)
    steps = repeats(mapped.config, stimulus(mapped, options), duration_us, options.repeats, 300_000, jitter_us=jitter_us)
    record(path, board, [steps[0], *(steps[1:] * times)], made_by(board, "two_boards"), mapped.addresses)
    return Session.load(path)


def halves(whole: Session) -> tuple[Session, Session]:
    """The first and the second half of a session's repeats: one board, compared with itself."""
    runs = [run for run in whole.runs if run.kind == "run"]
    middle = len(runs) // 2
    parts = (runs[:middle], runs[middle:])
    first, second = (
        Session(whole.made, whole.chip, whole.populations, whole.steps, tuple(part), whole.applied, whole.stimuli)
        for part in parts
    )
    return first, second


def pairs(options: argparse.Namespace) -> dict[str, Any]:
    """Verdicts over pairs of boards that differ, and over boards that are compared with themselves."""
    mapped = map_network(network(options.size, options.dc_a, not options.events), CHIP)
    settings = Settings(seed=options.seed)
    found = {"different boards": Counter[str](), "one board": Counter[str]()}
    first, undecided, follow = Counter[str](), Counter[str](), 0
    with TemporaryDirectory() as name:
        folder = Path(name)
        for pair in range(options.pairs):
            seeds = (options.seed + 2 * pair, options.seed + 2 * pair + 1)
            boards = [BoardProfile(seed=s, mismatch_cv=options.cv, noise_a=_NOISE_A) for s in seeds]
            both = session(mapped, boards[0], 2, folder, "a", options)
            one, two = halves(both)
            other = session(mapped, boards[1], 1, folder, "b", options)
            apart, _ = compare(("A", one), ("B", other), settings, controls=False)
            same, _ = compare(("A", one), ("A again", two), settings, controls=False)
            found["different boards"][apart.verdict.value] += 1
            found["one board"][same.verdict.value] += 1
            undecided.update(q.name for q in same.quantities if q.verdict.value == "not enough data")
            first.update(q.name for q in apart.quantities if q.verdict.value == "different")
            follow += same.order_matters
            print(f"pair {pair + 1} of {options.pairs}: {apart.verdict.value}; {same.verdict.value}", flush=True)
    power = found["different boards"]["different"] / options.pairs
    alarms = found["one board"]["different"] / options.pairs
    return {
        "pairs": options.pairs, "cv": options.cv, "power": power, "false_alarms": alarms,
        "verdicts": {name: dict(counts) for name, counts in found.items()},
        "one_board_repeats_that_follow_from_one_another": follow,
        "quantities_that_differed": dict(first.most_common()),
        "quantities_not_decided_on_one_board": dict(undecided.most_common()),
    }  # fmt: skip


def large(options: argparse.Namespace) -> dict[str, Any]:
    """Both sides synthetic: Poisson spikes of a whole board, written in blocks, compared, drawn."""
    g, duration_s, rate_hz = CHIP.geometry, 60.0, 30.0
    neurons = g.chips * g.cores * g.neurons
    result: dict[str, Any] = {"neurons": neurons, "duration_s": duration_s, "rate_hz": rate_hz}
    with TemporaryDirectory() as name:
        folder, sides = Path(name), []
        for label, seed in (("a", options.seed), ("b", options.seed + 1)):
            rng = np.random.default_rng(seed)
            count = int(rng.poisson(neurons * duration_s * rate_hz))
            spikes = np.zeros(count, dtype=SPIKE_DTYPE)
            spikes["time_us"] = np.sort(rng.integers(1, round(duration_s * 1e6), count))
            of = rng.integers(0, neurons, count)
            spikes["neuron"], spikes["core"], spikes["chip"] = (
                of % g.neurons,
                of // g.neurons % g.cores,
                of // g.neurons // g.cores,
            )
            path = folder / f"{label}.h5"
            started = time.perf_counter()
            with SessionWriter(path, Made.now("synthetic"), CHIP) as writer:
                writer.began(None, round(duration_s * 1e6))
                for part in np.array_split(spikes, 240):
                    writer.spikes(part, int(part["time_us"][-1]))
                writer.ended()
            elapsed = time.perf_counter() - started
            result[f"{label}_spikes"], result[f"{label}_written_per_s"] = count, count / elapsed
            sides.append(path)
        started = time.perf_counter()
        sessions = [Session.load(path) for path in sides]
        comparison, pictures = compare(("a", sessions[0]), ("b", sessions[1]), Settings(split=10, seed=options.seed))
        result["compared_s"] = time.perf_counter() - started
        write_page(folder / "report.html", comparison, pictures)
        result["with_page_s"] = time.perf_counter() - started
        result["page_mb"] = (folder / "report.html").stat().st_size / 1e6
        if options.keep is not None:
            options.keep.write_bytes((folder / "report.html").read_bytes())
    result["why"] = comparison.why
    result["verdict"], result["peak_gb"] = comparison.verdict.value, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cv", type=float, default=0.05)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rate-hz", type=float, default=40.0)
    parser.add_argument("--dc-a", type=float, help="constant current of each neuron; with --events 2e-11, else 0")
    parser.add_argument("--events", action="store_true", help="play a list of events instead of Poisson inputs")
    parser.add_argument("--rest-jitter-s", type=float, default=0.5)
    parser.add_argument("--duration-s", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--keep", type=Path, help="with --large: keep the page here")
    options = parser.parse_args(arguments)
    if options.dc_a is None:
        options.dc_a = 2e-11 if options.events else 0.0
    print(json.dumps(large(options) if options.large else pairs(options), indent=1))


if __name__ == "__main__":
    main()
