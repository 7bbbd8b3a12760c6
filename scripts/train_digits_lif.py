"""Train the 64-100-10 digits network with sinabs and export it through NIR, with sinabs' own answers beside it.

    python scripts/train_digits_lif.py OUT          (torch 2.13.0, sinabs 3.1.3, nir 1.0.4; about two minutes on one core)

Writes OUT/digits_lif.nir and OUT/digits_lif.npz. Trained on the first 1,400 embedded digits; the held-out ones are only
answered, at the very end. What helps the way to the chip, and is part of this training:

- quantisation-aware training: the network runs with weights of at most 4 levels of one step a layer, and at most 60 entries a
  neuron, and is exported with these (the gradient goes straight through the rounding);
- gains of each neuron's excitation and of its inhibition drawn anew for every batch (mismatch-aware training);
- a bound on the hidden rate, and a rate that the right output should reach;
- the chip's reset (to rest), one spike a step, and a membrane that does not fall below rest: NIR carries none of the three.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import nir
import numpy as np
import sinabs.activation as sa
import sinabs.layers as sl
import torch
from sinabs.nir import to_nir
from torch import nn

from bcall_hw.experiments.nir_agreement import Reference, digits, spike_trains

HELD_OUT = 300


@dataclass(frozen=True)
class Training:
    """What was chosen, on the last 280 training images.

    `grid` is the weight of one CAM entry in each layer; `gain_noise` the standard deviation of ln(gain); `wanted` spikes of
    the right output are free of penalty.
    """

    hidden: int = 100
    steps: int = 100
    dt_s: float = 1e-3
    probability: float = 0.1
    tau_steps: float = 20.0
    epochs: int = 40
    batch: int = 70
    learning_rate: float = 0.02
    grid: tuple[float, float] = (0.7, 2.0)
    levels: int = 4
    entries: int = 60
    gain_noise: float = 0.12
    most_hidden: float = 0.04
    wanted: float = 8.0
    wanted_penalty: float = 0.1
    seed: int = 0


def model(training: Training) -> nn.Sequential:
    """Linear, LIF, Linear, LIF; the layers take (images x steps, sources) as one row of steps after the other."""

    def lif() -> nn.Module:
        return sl.LIFSqueeze(
            batch_size=1, tau_mem=training.tau_steps, norm_input=True, min_v_mem=0.0, spike_fn=sa.SingleSpike,
            reset_fn=sa.MembraneReset(), surrogate_grad_fn=sa.SingleExponential(),
        )  # fmt: skip

    sizes = (64, training.hidden, 10)
    net = nn.Sequential(nn.Linear(sizes[0], sizes[1], bias=False), lif(), nn.Linear(sizes[1], sizes[2], bias=False), lif())
    with torch.no_grad():
        net[0].weight.normal_(0.25, 0.5)
        net[2].weight.normal_(0.2, 0.6)
    return net


def on_grid(weight: torch.Tensor, step: float, training: Training) -> torch.Tensor:
    """Weights as the chip can have them: the smallest of a neuron are left out where its entries would not suffice."""
    rounded = (weight / step).round().clamp(-training.levels, training.levels)
    order = weight.abs().argsort(dim=1, descending=True)
    kept = rounded.abs().gather(1, order).cumsum(1) <= training.entries
    return step * rounded * torch.zeros_like(rounded).scatter(1, order, kept.float())


def forward(net: nn.Sequential, spikes: torch.Tensor, training: Training, gain_noise: float) -> list[torch.Tensor]:
    """Spikes of both layers, shape (images, steps, neurons), with random gains of excitation and inhibition."""
    flowing, found = spikes, []
    images, steps = spikes.shape[:2]
    for step, linear, lif in zip(training.grid, (net[0], net[2]), (net[1], net[3]), strict=True):
        lif.reset_states()
        lif.batch_size = images
        weight = linear.weight + (on_grid(linear.weight, step, training) - linear.weight).detach()
        if gain_noise:
            up, down = (torch.exp(gain_noise * torch.randn(len(weight), 1)) for _ in range(2))
            weight = up * weight.clamp(min=0) + down * weight.clamp(max=0)
        drive = flowing.reshape(images * steps, -1) @ weight.T
        flowing = lif(drive).reshape(images, steps, -1)
        found.append(flowing)
    return found


def loss_of(layers: list[torch.Tensor], labels: torch.Tensor, training: Training) -> torch.Tensor:
    """Cross-entropy of the counts, the right output's missing spikes, and a bound on the hidden rate."""
    counts = layers[-1].sum(1)
    missing = torch.relu(training.wanted - counts[torch.arange(len(labels)), labels]).mean()
    too_many = torch.relu(layers[0].mean() - training.most_hidden)
    return nn.functional.cross_entropy(0.5 * counts, labels) + training.wanted_penalty * missing + 5.0 * too_many


def train(training: Training, images: torch.Tensor, labels: torch.Tensor) -> nn.Sequential:
    """The trained network; the learning rate falls to zero as a half cosine."""
    torch.manual_seed(training.seed)
    net = model(training)
    optimiser = torch.optim.Adam([net[0].weight, net[2].weight], lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.epochs)
    for epoch in range(training.epochs):
        started, right = time.perf_counter(), 0
        order = torch.randperm(len(images))
        for first in range(0, len(images), training.batch):
            chosen = order[first : first + training.batch]
            chance = images[chosen][:, None, :] * training.probability
            spikes = (torch.rand(len(chosen), training.steps, images.shape[1]) < chance).float()
            layers = forward(net, spikes, training, training.gain_noise)
            loss = loss_of(layers, labels[chosen], training)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            right += int((layers[-1].sum(1).argmax(1) == labels[chosen]).sum())
        schedule.step()
        rates = [layer.detach().mean() / training.dt_s for layer in layers]
        took = time.perf_counter() - started
        print(
            f"epoch {epoch}: {right / len(images):.1%}, hidden {rates[0]:.0f} Hz, out {rates[1]:.0f} Hz, {took:.1f} s",
            flush=True,
        )
    with torch.no_grad():
        for step, linear in zip(training.grid, (net[0], net[2]), strict=True):
            linear.weight.copy_(on_grid(linear.weight, step, training))
    return net


def answers(net: nn.Sequential, spikes: np.ndarray, training: Training) -> np.ndarray:
    """Output spike counts of sinabs, shape (images, outputs)."""
    with torch.no_grad():
        return forward(net, torch.tensor(spikes, dtype=torch.float32), training, 0.0)[-1].sum(1).numpy().astype(np.int64)


def export(net: nn.Sequential, training: Training, path: Path) -> None:
    """Write the NIR file; sample data without a batch and with the steps in its place."""
    for lif in (net[1], net[3]):
        lif.reset_states()
        lif.batch_size = 1
    nir.write(path, to_nir(net, torch.zeros(training.steps, 64)))


def main(out: Path) -> None:
    torch.set_num_threads(1)
    training = Training()
    images, labels = digits("train", 1400)
    net = train(training, torch.tensor(images, dtype=torch.float32), torch.tensor(labels))
    out.mkdir(parents=True, exist_ok=True)
    export(net, training, out / "digits_lif.nir")
    images, labels = digits("test", HELD_OUT)
    counts = answers(net, spike_trains(images, training.steps, training.probability, training.seed, "test"), training)
    print(f"held out: {(counts.argmax(1) == labels).mean():.1%} of {HELD_OUT}")
    versions = ", ".join(f"{name} {version(name)}" for name in ("sinabs", "nir", "torch"))
    Reference(counts, training.steps, training.dt_s, training.probability, training.seed, versions).save(out / "digits_lif.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
