"""The BCaLL classifier: its settings, its network, and how an image becomes spike trains."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.errors import InvalidValue
from bcall_hw.experiments.dataset import Dataset
from bcall_hw.mapper.mapped import Train
from bcall_hw.mapping import Roles
from bcall_hw.network import (
    Connection,
    Explicit,
    Input,
    Network,
    NeuronParameters,
    Population,
    RandomFanIn,
    SynapseParameters,
)
from bcall_hw.records import Record
from bcall_hw.rule.parameters import Bistability, RuleParameters, StopLearning

Variant = Literal["error-triggered", "pure"]
Count = Annotated[int, Field(gt=0, le=10_000, strict=True)]
Number = Annotated[float, Field(ge=0, le=1e6)]
# Bounded so that the spike trains of one presentation stay small; what the FPGA can hold is checked where they are sent.
Rate = Annotated[float, Field(ge=0, le=1000)]
Seconds = Annotated[float, Field(gt=0, le=10)]
Rest = Annotated[float, Field(ge=0, le=10)]
Amperes = Annotated[float, Field(gt=0)]


class ClassifierSettings(Record):
    """Everything that can be chosen about the classifier. Rates in Hz, times in s, currents in A.

    Attributes:
        variant: error-triggered: the host opens plasticity only after a free run that was wrong or lacked margin, and only
            for the target class and the strongest wrong one (our addition). pure: teacher always on, and nothing but the
            rule's own stop-learning gates.
        neurons_per_class: size of the network.
        fan_in: plastic inputs per neuron, at most; fewer where fewer pixels are ever active (the result tells).
        teacher_fan_in, teacher_sources: teacher inputs per neuron, out of how many sources of its class.
        epochs: passes over the training images.
        active_hz, silent_hz: rate of an active and of an inactive pixel.
        inhibition_hz: rate of each inhibitory source per unit of coding level (fraction of active pixels).
        teacher_hz, wrong_hz: teacher rate for the target class, and for the strongest wrong class.
        rest_s: silence before a free run or test, so that the drive of the presentation before has died away.
        free_s, teach_s, test_s: length of a free run, of a teaching phase and of a test presentation.
        margin: lead that the target class needs, times (mean count per class + 1).
    """

    variant: Variant = "error-triggered"
    neurons_per_class: Count = 75
    fan_in: Count = 56
    teacher_fan_in: Count = 4
    inhibition_fan_in: Count = 4
    teacher_sources: Count = 16
    inhibition_sources: Count = 32
    epochs: Count = 2
    active_hz: Rate = 75.0
    silent_hz: Rate = 1.0
    inhibition_hz: Rate = 160.0
    teacher_hz: Rate = 150.0
    wrong_hz: Rate = 0.0
    rest_s: Rest = 0.04
    free_s: Seconds = 0.1
    teach_s: Seconds = 0.1
    test_s: Seconds = 0.2
    margin: Number = 0.1
    min_activity: Number = 0.02
    tau_membrane_s: Seconds = 0.02
    refractory_s: Seconds = 0.003
    gain_a: Amperes = 1e-9
    pulse_width_s: Seconds = 2e-5
    plastic_tau_s: Seconds = 0.01
    plastic_a: Amperes = 1e-11
    teacher_a: Amperes = 3e-11
    inhibition_tau_s: Seconds = 0.015
    inhibition_a: Amperes = 2e-11
    rule: RuleParameters = RuleParameters(
        tau_i_s=0.030, tau_j_s=0.059, a_i=0.4, a_j=0.5, theta_i=0.30, theta_j=0.23, c_p=0.012, c_d1=-0.0052, c_d2=-0.00006,
        stop_learning=StopLearning(tau_s=0.450, a=0.06, theta_lo=0.02, theta_hi=0.9), bistability=Bistability(tau_w_s=3000.0),
        source="searched on a validation part of the training images, from preset D",
    )  # fmt: skip

    def __init__(self, /, **data: Any) -> None:
        super().__init__(**data)
        for fan_in, sources in (("teacher_fan_in", "teacher_sources"), ("inhibition_fan_in", "inhibition_sources")):
            used, limit = getattr(self, fan_in), getattr(self, sources)
            if used > limit:
                raise InvalidValue(f"exceeds {sources}", where=f"ClassifierSettings.{fan_in}", used=used, limit=limit)


def candidate_pixels(settings: ClassifierSettings, data: Dataset) -> IntArray:
    """Pixels whose mean activity in the training images exceeds `min_activity`."""
    return np.flatnonzero(data.train.mean(axis=0) > settings.min_activity).astype(np.int64)


def build_network(settings: ClassifierSettings, data: Dataset, seed: int, roles: Roles) -> Network:
    """One population of neurons, a block per class; plastic pixels, a teacher per class, shared inhibition.

    Args:
        roles: the chip's synapse type for each of these parts.
    """
    classes, per_class = data.classes, settings.neurons_per_class
    size = classes * per_class
    pixels = candidate_pixels(settings, data)
    neuron = NeuronParameters(
        tau_s=settings.tau_membrane_s, refractory_s=settings.refractory_s, gain_a=settings.gain_a,
        pulse_width_s=settings.pulse_width_s,
        synapses={
            roles.plastic: SynapseParameters(tau_s=settings.plastic_tau_s, weight_a=settings.plastic_a),
            roles.teacher: SynapseParameters(tau_s=settings.plastic_tau_s, weight_a=settings.teacher_a),
            roles.inhibition: SynapseParameters(tau_s=settings.inhibition_tau_s, weight_a=settings.inhibition_a),
        },
    )  # fmt: skip
    fan_in = min(settings.fan_in, len(pixels))
    return Network(
        name="bcall_classifier",
        inputs=[
            Input(name="pixels", size=data.train.shape[1]),
            Input(name="teacher", size=classes * settings.teacher_sources),
            Input(name="inhibition", size=settings.inhibition_sources),
        ],
        populations=[Population(name="classes", size=size, neuron=neuron)],
        connections=[
            Connection(
                name="learned", source="pixels", target="classes", synapse=roles.plastic, plastic=True,
                rule=RandomFanIn(fan_in=fan_in, seed=seed, candidates=pixels.tolist()),
            ),
            Connection(
                name="teaching", source="teacher", target="classes", synapse=roles.teacher,
                rule=Explicit(pairs=_teacher_pairs(settings, size, seed)),
            ),
            Connection(
                name="inhibiting", source="inhibition", target="classes", synapse=roles.inhibition,
                rule=RandomFanIn(fan_in=settings.inhibition_fan_in, seed=seed),
            ),
        ],
    )  # fmt: skip


def _teacher_pairs(settings: ClassifierSettings, size: int, seed: int) -> list[tuple[int, int]]:
    """Each neuron hears some of its class's teacher sources, drawn at random so that the class is not synchronised."""
    per_class = settings.teacher_sources
    draws = random_bits.raw_bits(seed, "teacher", size * per_class).reshape(size, per_class)
    chosen = np.argsort(draws, axis=1, kind="stable")[:, : settings.teacher_fan_in]
    return [(int(n // settings.neurons_per_class * per_class + s), n) for n in range(size) for s in chosen[n]]


def encode(settings: ClassifierSettings, image: BoolArray, duration_s: float, seed: int, stream: str,
           teacher_hz: FloatArray | None = None, start_s: float = 0.0) -> dict[str, Train]:  # fmt: skip
    """Spike trains of one presentation: pixels by activity, inhibition by coding level, teachers by class.

    Args:
        teacher_hz: rate of each class's teacher sources; none if absent.
    """
    rates = {
        "pixels": np.where(image, settings.active_hz, settings.silent_hz),
        "inhibition": np.full(settings.inhibition_sources, settings.inhibition_hz * float(image.mean())),
    }
    if teacher_hz is not None:
        rates["teacher"] = np.repeat(teacher_hz, settings.teacher_sources)
    every = np.concatenate(list(rates.values()))
    ids, times = periodic_trains(every, duration_s, seed, stream)
    trains, first = {}, 0
    for name, values in rates.items():
        mine = (ids >= first) & (ids < first + len(values))
        trains[name] = (ids[mine] - first, times[mine] + start_s * 1e6)
        first += len(values)
    return trains


def periodic_trains(rates_hz: FloatArray, duration_s: float, seed: int, stream: str) -> Train:
    """Periodic spike trains with a random phase for each source, times in whole us, sorted by time.

    A source of rate r fires at (k + u) / r, u uniform in [0, 1): the mean count is exactly rate * duration, with at most
    one spike of spread. A Poisson train would add a spread of sqrt(count), which all neurons share.
    """
    phase = random_bits.uniform(seed, stream, len(rates_hz))
    most = int(np.ceil(float(rates_hz.max(initial=0.0)) * duration_s)) + 1
    with np.errstate(divide="ignore"):
        times = np.floor((np.arange(most)[:, None] + phase) * (1e6 / rates_hz))
    row, ids = np.nonzero(times < np.floor(duration_s * 1e6))
    found = times[row, ids]
    order = np.argsort(found, kind="stable")
    return ids[order], found[order]
