"""The demo's classifier on an ideal board, on a board with wrong capacitances and mismatch, and on that board calibrated.

python -m benchmarks.calibrated_classifier --board-seed 1 --json

The board is `hidden_board`: capacitances off by up to a factor of two, mismatch CV 0.20, noise, defects. On
it the network is mapped with the nominal record, and with the record that `calibrate` makes of it; learning and evaluation are
the same. With the record, currents are those of the network times the membrane's measured / nominal capacitance, so that it
answers them as the nominal one does (`NeuronParameters.scaled_currents`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.hidden import hidden_board
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibrate.run import calibrate
from bcall_hw.calibrate.targets import Targets
from bcall_hw.calibration import Calibration
from bcall_hw.chip_model import load_chip
from bcall_hw.errors import BcallError
from bcall_hw.experiments.dataset import load_dataset
from bcall_hw.experiments.presets import settings_for
from bcall_hw.experiments.training import learn_classifier, map_classifier

CHIPS = (0,)


def accuracy(name: str, profile: BoardProfile, record: Calibration | None, variant: str, seed: int, data: Any) -> float:
    """Held-out accuracy of the classifier learned in the loop on a board."""
    chip, settings = load_chip("dynapse1"), settings_for(variant)
    defects = profile if name == "uncalibrated" else None
    if record is not None:  # its currents were tuned on the nominal membrane
        by = record.capacitance_scale["soma"]
        currents = {name: getattr(settings, name) * by for name in ("gain_a", "plastic_a", "teacher_a", "inhibition_a")}
        settings = settings.model_copy(update=currents)
    mapped = map_classifier(settings, data, chip, seed, defects=defects, calibration=record)
    with tempfile.TemporaryDirectory() as folder:
        _, evaluation, _ = learn_classifier(settings, data, seed, Path(folder), Emulator(chip, CHIPS, profile), mapped)
    return float(evaluation.accuracy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board-seed", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variant", default="error-triggered")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    chip, settings = load_chip("dynapse1"), settings_for(args.variant)
    data, board = load_dataset(args.data), hidden_board(chip, args.board_seed)
    neuron = map_classifier(settings, data, chip, args.seed).network.populations[0].neuron
    started = time.perf_counter()
    outcome = calibrate(Emulator(chip, CHIPS, board, dt_us=50), chip, targets=Targets(neuron=neuron), seed=args.seed)
    result: dict[str, Any] = {
        "board_seed": args.board_seed, "seed": args.seed, "variant": args.variant, "data": data.name,
        "parameters_ok": f"{sum(m.ok for m in outcome.measured)} of {len(outcome.measured)}", "board_s": outcome.board_s,
        "calibration_s": time.perf_counter() - started, "capacitance_scale": dict(board.capacitance_scale),
    }  # fmt: skip
    ideal = BoardProfile(seed=args.board_seed)
    boards = (("ideal", ideal, None), ("uncalibrated", board, None), ("calibrated", board, outcome.record))
    for name, profile, record in boards:
        try:
            result[name] = accuracy(name, profile, record, args.variant, args.seed, data)
        except BcallError as problem:  # a board so far off that nothing fires is a result
            result[name], result[f"{name}_problem"] = 0.0, f"{type(problem).__name__}: {problem}"
    if args.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:20s} {value}")


if __name__ == "__main__":
    main()
