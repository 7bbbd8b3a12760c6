"""The demo's report page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bcall_hw import report
from bcall_hw.board_figure import board_figure
from bcall_hw.experiments.classifier import encode
from bcall_hw.experiments.training import ClassifierRun, Evaluation
from bcall_hw.mapper import MappedNetwork


def write_report(path: Path, result: dict[str, Any], run: ClassifierRun, evaluation: Evaluation, mapped: MappedNetwork) -> None:
    """Write the page: result, confusion matrix, raster, weights, hidden weights, where the network lies on the chip."""
    settings, data, chip = run.settings, run.data, mapped.config.chip
    page = report.Page(
        f"BCaLL classifier on the emulated {chip.title}",
        f"Learned by the {settings.variant} variant of the rule in the loop with {result['backend']}, "
        f"board seed {result['seed']}, mismatch CV {result['mismatch_cv']}. Everything here comes from the emulator; "
        "no chip was measured.",
    )
    page.heading("Result")
    page.table(["method", f"accuracy on {len(data.test)} held-out images"], _accuracies(result))
    if settings.variant == "error-triggered":
        page.text(
            "Error-triggered means that the host looks at the answer of a free run; where it was wrong or lacked margin, "
            "it teaches the target class and opens plasticity for that class and the strongest wrong one only. This "
            "perceptron-like choice is an addition of this project, not part of the rule's publication. The pure variant has "
            "a teacher that is always on and nothing but the rule's own stop-learning gate; it has its own step sizes and "
            "number of epochs."
        )
    stored = "; the figure of logistic regression was computed before and is stored" if data.known_logistic is not None else ""
    page.text(f"Inputs are periodic trains with a random phase, not Poisson trains{stored}.")
    page.figure(report.confusion_figure(evaluation.confusion), "Confusion matrix of the held-out images.")
    page.heading("Activity")
    trains = encode(settings, data.test[0], settings.test_s, run.seed, "report")
    backend = run.loop.backend
    backend.apply(run.loop.config)
    backend.run(mapped.stimulus({}), settings.rest_s or 0.04)
    spikes = mapped.spikes_of(backend.run(mapped.stimulus(trains), settings.test_s))["classes"]
    caption = f"One held-out image of class {data.test_labels[0]}: what the FPGA sent and what the neurons answered; "
    caption += f"each class has {settings.neurons_per_class} neurons, class 0 lowest."
    page.figure(report.raster_figure({"pixels": trains["pixels"], "neurons": spikes}, settings.test_s), caption)
    page.heading("What was learned")
    names = [f"class {c}" for c in range(data.classes)]
    page.figure(
        report.weights_figure(_class_weights(run), names, "fraction on"),
        "Mean binary efficacy of each class's neurons by pixel; dark where no neuron of the class listens.",
    )
    hidden = run.engine.hidden_weights()[run.engine.sources >= 0]
    page.figure(
        report.histogram_figure(hidden, settings.rule.theta_w, "hidden weight (dimensionless)"),
        f"Hidden weights after learning; right of the line the synapse is on ({result['efficacy_on']:.0%}).",
    )
    page.heading("On the chip")
    use = result["utilisation"]
    page.figure(board_figure(mapped), "Where the network lies on the board, and the traffic between its cores.")
    page.table(
        ["resource", "used", "of"], [(k, use[k]["used"], use[k]["of"]) for k in ("neurons", "cam", "sram", "fpga_sources")]
    )
    columns = ("neurons", "cam_used", "cam_most", "sram_used", "tags")
    page.table(
        ["core", "neurons", "CAM entries", "fullest neuron", "SRAM entries", "tags"],
        [(f"{c['chip']}/{c['core']}", *(c[k] for k in columns)) for c in use["cores"] if c["neurons"]],
    )
    core, choices = next(iter(mapped.biases.items()))
    page.text(f"Biases of chip {core[0]} core {core[1]}, with the value that the nominal model predicts (SI units):")
    rows = [(c.quantity, c.bias, c.code.coarse, c.code.fine, c.wanted, c.predicted, f"{c.error:+.2%}") for c in choices]
    page.table(["quantity", "bias", "coarse", "fine", "wanted", "predicted", "error"], rows)
    page.heading("Run")
    keys = (
        "training_presentations", "epochs", "fan_in_used", "taught", "weight_flips", "words_written", "events_sent",
        "spikes_read", "simulated_s", "elapsed_s", "real_time_factor", "dt_us", "words_decode_to_config", "spikes_sha256",
        "cam_sha256", "version",
    )  # fmt: skip
    rows_of_run = [(key.replace("_", " "), result[key]) for key in keys]
    oracle = result["numpy_oracle"]
    rows_of_run.append(("numpy oracle, presentations replayed with equal bits", oracle["presentations"]))
    page.table(["figure", "value"], rows_of_run)
    page.text(f"Settings: {json.dumps(result['settings'])}")
    page.save(path)


def _accuracies(result: dict[str, Any]) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [(f"BCaLL, {result['variant']}", f"{result['accuracy']:.1%}")]
    if "beside" in result:
        rows.append((f"BCaLL, {result['beside']['variant']}", f"{result['beside']['accuracy']:.1%}"))
    logistic = result["baselines"]["logistic"]
    rows.append(("logistic regression, same binary pixels", "not computed" if logistic is None else f"{logistic:.1%}"))
    rows.append(("majority class", f"{result['baselines']['majority']:.1%}"))
    return rows


def _class_weights(run: ClassifierRun) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Mean efficacy by class and pixel; 0 where no neuron of the class listens."""
    pixels, classes = run.data.train.shape[1], run.data.classes
    post, slot = np.nonzero(run.engine.sources >= 0)
    index = (run.class_of[post], run.engine.sources[post, slot])
    on, listeners = np.zeros((classes, pixels)), np.zeros((classes, pixels))
    np.add.at(on, index, run.engine.efficacy[post, slot].astype(np.float64))
    np.add.at(listeners, index, 1.0)
    mean = np.divide(on, listeners, out=np.zeros_like(on), where=listeners > 0)
    return mean.reshape(classes, *run.data.shape)
