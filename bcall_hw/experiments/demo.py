"""The main job, end to end: learn a classifier on the emulated chip, evaluate it, and leave what `deploy` can use."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from bcall_hw import __version__, files
from bcall_hw.backend import Backend, open_backend
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.backend.emulator.words import DEFAULT_STEP_US
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import DEFAULT_CHIP, load_chip
from bcall_hw.errors import BcallError
from bcall_hw.experiments import baselines
from bcall_hw.experiments.classifier import ClassifierSettings, encode
from bcall_hw.experiments.dataset import Dataset
from bcall_hw.experiments.demo_report import write_report
from bcall_hw.experiments.training import ClassifierRun, Report, checkpoint_path, learn_classifier, map_classifier
from bcall_hw.mapper import utilisation

_ORACLE_PRESENTATIONS = 3


def run_demo(
    settings: ClassifierSettings,
    data: Dataset,
    seed: int,
    out: Path,
    mismatch_cv: float = 0.2,
    implementation: str = "numba",
    dt_us: int = DEFAULT_STEP_US,
    beside: ClassifierSettings | None = None,
    resume: bool = False,
    report: Report | None = None,
    chip_name: str = DEFAULT_CHIP,
) -> dict[str, Any]:
    """The demo: the classifier learned and evaluated on an emulated board, with baselines, checks and a report page.

    Args:
        beside: a second variant to learn on the same board and report beside the first.
        out: folder for result.json, report.html, network.json, config.h5, stimulus.h5 (one held-out image) and the checkpoints.
    """
    started = time.perf_counter()
    chip = load_chip(chip_name)
    profile = BoardProfile(seed=seed, mismatch_cv=mismatch_cv)

    def board() -> Backend:
        return open_backend("emulator", chip=chip, profile=profile, implementation=implementation, dt_us=dt_us)

    mapped = map_classifier(settings, data, chip, seed)
    backend = board()
    run, evaluation, figures = learn_classifier(settings, data, seed, out, backend, mapped, resume, report)
    config = run.loop.config
    mapped.network.save(out / "network.json")
    config.save(out / "config.h5")
    example = encode(settings, data.test[0], settings.test_s, seed, "example")
    mapped.stimulus(example).save(out / "stimulus.h5")
    decoded = ChipConfig.from_words(chip, config.chips, config.words()) == config
    if not decoded:
        raise BcallError("words of the final registers do not decode to them", where="ChipConfig", fix="Please report this.")
    oracle = _numpy_oracle(run, profile, dt_us)
    result = figures | {
        "backend": backend.name, "seed": seed, "version": __version__, "chip": chip.name, "data": data.name,
        "mismatch_cv": mismatch_cv, "dt_us": dt_us, "settings": settings.model_dump(mode="json"),
        "baselines": {"majority": baselines.majority(data), "logistic": baselines.logistic(data)},
        "utilisation": utilisation(mapped), "words_decode_to_config": decoded, "numpy_oracle": oracle,
        "warnings": mapped.warnings,
    }  # fmt: skip
    if beside is not None:
        again = resume and files.is_file(checkpoint_path(out, beside))
        other_mapped = map_classifier(beside, data, chip, seed)
        _, _, result["beside"] = learn_classifier(beside, data, seed, out, board(), other_mapped, again, report)
    result["elapsed_s"] = time.perf_counter() - started
    write_report(out / "report.html", result, run, evaluation, mapped)
    files.write_json(out / "result.json", result)
    return result


def _numpy_oracle(run: ClassifierRun, profile: BoardProfile, dt_us: int) -> dict[str, Any]:
    """Replay some held-out images with the final registers on numpy and numba boards: same spikes, same state.

    Raises:
        BcallError: they differ.
    """
    seen = []
    for implementation in ("numpy", "numba"):
        options = {"chip": run.loop.config.chip, "profile": profile, "dt_us": dt_us}
        emulator = open_backend("emulator", implementation=implementation, **options)
        emulator.apply(run.loop.config)
        hashes = []
        for k in range(_ORACLE_PRESENTATIONS):
            trains = encode(run.settings, run.data.test[k % len(run.data.test)], run.settings.free_s, run.seed, f"oracle/{k}")
            hashes.append(emulator.run(run.loop.mapped.stimulus(trains), run.settings.free_s).sha256)
        seen.append((hashes, np.asarray(emulator.save_state()["rows"]).tobytes()))
    if seen[0] != seen[1]:
        raise BcallError(
            "numpy oracle and numba kernel differ", where="emulator", fix="Please report this with seed and versions."
        )
    return {"presentations": _ORACLE_PRESENTATIONS, "agrees": True}
