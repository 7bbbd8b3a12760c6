"""Parameter recovery: the same measurements on both sides, and what of their neurons differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bcall_hw.arrays import FloatArray
from bcall_hw.backend import Backend
from bcall_hw.calibrate.restoring import restoring
from bcall_hw.calibrate.rig import Core
from bcall_hw.calibrate.run import CalibrationRun, check_cores, require_chips
from bcall_hw.calibrate.targets import Targets
from bcall_hw.chip_model import ChipModel
from bcall_hw.record import Report

#: Board time of one side's measurement (s).
_BUDGET_S = 120.0


def measured_soma(
    backend: Backend, chip: ChipModel, cores: tuple[Core, ...], report: Report | None = None
) -> dict[str, FloatArray]:
    """Each neuron's parameters over the chip model's, from spikes alone; (cores, neurons), NaN for one that is unfit.

    Membrane time constant, constant current (the gain of the input), refractory period and spike threshold, as `bcall-hw
    calibrate` estimates them before it chooses codes; the registers are restored.

    Raises:
        InvalidValue: no such cores. BcallError: whatever the backend raises.
    """
    check_cores(chip, cores, _BUDGET_S)
    before = backend.read_back()
    require_chips(before, {core[0] for core in cores})
    targets = Targets.load()
    soma_alone = targets.neuron.model_copy(update={"synapses": {}, "adaptation": None})
    run = CalibrationRun(backend, chip, cores, targets.model_copy(update={"neuron": soma_alone}), _BUDGET_S, 0, None, None)
    steps: list[tuple[str, Callable[[], None]]] = [("scan", run.scan), ("soma", run.soma), ("membrane", run.membrane)]
    with restoring(run.rig, lambda: before):
        for number, (name, step) in enumerate(steps):
            if report:
                report(f"parameters: {name}", number, len(steps))
            step()
    if report:
        report("parameters: membrane", len(steps), len(steps))
    bench = run.bench
    charge = bench.charge_scale[:, None] * np.ones(run.rig.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            "membrane time constant": charge / bench.leak_scale, "constant current": bench.dc_scale,
            "refractory period": bench.refractory_scale, "spike threshold": bench.threshold_scale,
        }  # fmt: skip
    return {name: np.where(bench.alive, values, np.nan) for name, values in found.items()}


def recovered_rows(a: dict[str, FloatArray], b: dict[str, FloatArray], cores: tuple[Core, ...]) -> tuple[dict[str, Any], ...]:
    """A row for each parameter of each core: medians over nominal, their ratio, and how alike the neurons are.

    `spread` is the standard deviation over the neurons of ln(B / A); `correlation` Pearson's of ln A and ln B, None where a
    side has no spread.
    """
    rows = []
    for name in a:
        for index, (chip, core) in enumerate(cores):
            both = np.isfinite(a[name][index]) & np.isfinite(b[name][index]) & (a[name][index] > 0) & (b[name][index] > 0)
            one, two = np.log(a[name][index][both]), np.log(b[name][index][both])
            known = both.sum() > 2
            spread = known and min(float(one.std()), float(two.std())) > 1e-9
            rows.append({
                "parameter": name, "core": f"{chip}.{core}", "neurons": int(both.sum()),
                "A / nominal": float(np.exp(np.median(one))) if known else None,
                "B / nominal": float(np.exp(np.median(two))) if known else None,
                "B / A": float(np.exp(np.median(two - one))) if known else None,
                "spread": float(np.std(two - one)) if known else None,
                "correlation": float(np.corrcoef(one, two)[0, 1]) if spread else None,
            })  # fmt: skip
    return tuple(rows)
