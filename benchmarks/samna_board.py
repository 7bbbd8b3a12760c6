"""Host time of the samna backend on the virtual board: opening, a whole-board apply, weight flips, reading spikes.

python -m benchmarks.samna_board [--rounds N] [--json], with a samna that `BCALL_SAMNA_PYTHON` names, or beside this package.
The virtual board takes words over a socket: a real board's USB comes on top, and is not measured here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw.backend import open_backend
from bcall_hw.backend.samna_board.virtual.faults import Faults
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.stimulus import EVENT_DTYPE, Stimulus

FLIPS, SPIKES, FLOOD_HZ = 1_000, 200_000, 1_000_000


def whole_board(chip: ChipModel, seed: int) -> ChipConfig:
    """Random CAM, SRAM and biases on all chips."""
    rng = np.random.default_rng(seed)
    start = ChipConfig.after_opening(chip, range(chip.geometry.chips))
    arrays: dict[str, npt.NDArray[np.void]] = {
        "cam": start.cam.copy(),
        "sram": start.sram.copy(),
        "biases": start.biases.copy(),
    }
    for name, word in (("cam", "cam"), ("sram", "sram"), ("biases", "bias")):
        for field in arrays[name].dtype.names or ():
            width = chip.words[word].fields[field].width  # type: ignore[index]
            arrays[name][field] = rng.integers(0, 1 << width, arrays[name].shape)
    arrays["biases"]["high"] = 1
    return start.with_registers(**arrays)


def resting(config: ChipConfig) -> ChipConfig:
    """The same with no currents: nothing to emulate."""
    biases = config.biases.copy()
    biases["coarse"] = biases["fine"] = 0
    return config.with_registers(biases=biases)


def flipped(config: ChipConfig, seed: int) -> ChipConfig:
    """The same with so many CAM entries pointed elsewhere."""
    cam = config.cam.copy()
    flat = cam.reshape(-1)
    flat["source_neuron"][np.random.default_rng(seed).choice(flat.size, FLIPS, replace=False)] ^= 1
    return config.with_registers(cam=cam)


def measure(chip: ChipModel, seed: int) -> dict[str, float]:
    """One round, seconds each."""
    found: dict[str, float] = {}

    def timed(name: str, call: Any, *arguments: Any) -> Any:
        began = time.perf_counter()
        value = call(*arguments)
        found[name] = time.perf_counter() - began
        return value

    board = timed("open_s", lambda: open_backend("samna:virtual", chip=chip, faults=Faults(flood_hz=FLOOD_HZ)))
    try:
        config = whole_board(chip, seed)
        timed("whole_board_apply_s", board.apply, config)
        timed("whole_board_again_s", board.apply, whole_board(chip, seed + 1))
        config = resting(config)
        board.apply(config)
        timed("thousand_flips_s", board.apply, flipped(config, seed))
        one = Stimulus(chip, np.zeros(0, dtype=EVENT_DTYPE))
        recording = timed("read_200000_spikes_s", board.run, one, SPIKES / FLOOD_HZ)
        if len(recording) != SPIKES:
            raise SystemExit(f"{len(recording)} spikes came, not {SPIKES}")
        timed("read_back_s", board.read_back)
    finally:
        board.close()
    return found


def main() -> None:
    """Print medians over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    chip = load_chip("dynapse1")
    measure(chip, 0)  # compiles what is not in the cache yet
    rounds = [measure(chip, seed) for seed in range(given.rounds)]
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    worst = {name: max(one[name] for one in rounds) for name in rounds[0]}
    if given.json:
        print(json.dumps({"median": medians, "worst": worst, "rounds": given.rounds}))
        return
    for name in medians:
        print(f"{name:24} median {medians[name]:7.3f} s, worst {worst[name]:7.3f} s")


if __name__ == "__main__":
    main()
