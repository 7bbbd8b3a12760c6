"""Learning in the loop over any backend: present, read spikes, run the plasticity engine, flip CAM entries in one batch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.backend import Backend
from bcall_hw.calibration import check_board
from bcall_hw.errors import InvalidValue
from bcall_hw.mapper import MappedNetwork
from bcall_hw.mapper.mapped import Train
from bcall_hw.rule.engine import PlasticityEngine


class LearningLoop:
    """One plastic connection from an input to a population, learned by the host from the spikes it sends and reads.

    Args:
        backend: where the network runs; the mapped configuration is applied to it at once.
        mapped: the network on the chip.
        connection: name of the plastic connection; its source must be an input, whose spikes the host knows.
        engine: the rule's state for that connection; its efficacies are written before the first presentation.

    Attributes:
        config: the registers now.
        spikes_sha256: chained hash over the spikes of every presentation so far.

    Raises:
        InvalidValue: no plastic connection from an input.
        WrongBoard: the network was mapped with the calibration record of another board.
    """

    def __init__(self, backend: Backend, mapped: MappedNetwork, connection: str, engine: PlasticityEngine) -> None:
        self.backend, self.mapped, self.engine, self._connection = backend, mapped, engine, connection
        check_board(mapped.calibration, backend.board)
        found = mapped.network.connection(connection)
        if not found.plastic or found.source not in mapped.input_tags:
            raise InvalidValue("learning needs a plastic connection from an input", where=f"connection {connection!r}")
        self._input, self._population = found.source, found.target
        self.words_written = self.flips = self.presentations = self.spikes_sent = self.spikes_read = 0
        self.simulated_us = 0
        self.spikes_sha256 = hashlib.sha256(b"").hexdigest()
        post, slot = np.nonzero(engine.sources >= 0)
        self.config = mapped.with_flips(mapped.config, connection, post, slot, engine.efficacy[post, slot])
        self.words_written += backend.apply(self.config)

    def present(
        self, trains: Mapping[str, Train], duration_s: float, learn: BoolArray | None = None, count_from_s: float = 0.0
    ) -> IntArray:
        """Play spike trains, let the rule see what was sent and read, and write the weight flips.

        Args:
            trains: for each input, (source indices, times in us).
            duration_s: length of the presentation (s).
            learn: bool per neuron of the population: where the host lets the hidden weights jump; nowhere if absent.
            count_from_s: spikes up to this time are not counted (s).

        Returns:
            Spike count of each neuron of the population.
        """
        stimulus = self.mapped.stimulus(trains)
        recording = self.backend.run(stimulus, duration_s)
        size = self.mapped.network.population(self._population).size
        post_ids, post_us = self.mapped.spikes_of(recording)[self._population]
        pre_ids, pre_us = trains.get(self._input, (np.zeros(0, dtype=np.int64), np.zeros(0)))
        gate = np.zeros(size, dtype=np.bool_) if learn is None else learn
        flips = self.engine.advance(duration_s, stimulus.played_us(pre_us) * 1e-6, pre_ids, post_us * 1e-6, post_ids, gate)
        if len(flips):
            self.config = self.mapped.with_flips(self.config, self._connection, flips.post, flips.slot, flips.on)
            self.words_written += self.backend.apply(self.config)
        self.presentations += 1
        self.flips += len(flips)
        self.spikes_sent += len(stimulus.events)
        self.spikes_read += len(recording)
        self.simulated_us += recording.duration_us
        self.spikes_sha256 = hashlib.sha256(bytes.fromhex(self.spikes_sha256 + recording.sha256)).hexdigest()
        return np.bincount(post_ids[post_us > count_from_s * 1e6], minlength=size).astype(np.int64)

    def state(self) -> dict[str, Any]:
        """Everything that changes: counters, the rule's state, what the backend can tell of its own; for a checkpoint."""
        counters = {name: getattr(self, name) for name in _COUNTERS}
        return {"counters": counters, "engine": self.engine.state(), "backend": self.backend.save_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that `state` gave, and write the efficacies that belong to it."""
        self.engine.restore(state["engine"])
        post, slot = np.nonzero(self.engine.sources >= 0)
        self.config = self.mapped.with_flips(self.mapped.config, self._connection, post, slot, self.engine.efficacy[post, slot])
        self.backend.apply(self.config)
        self.backend.load_state(state["backend"])
        for name in _COUNTERS:
            setattr(self, name, type(getattr(self, name))(state["counters"][name]))


_COUNTERS = ("words_written", "flips", "presentations", "spikes_sent", "spikes_read", "simulated_us", "spikes_sha256")
