"""Recorder: a backend that writes down what another one is asked and what it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from bcall_hw.backend import Backend, Sink
from bcall_hw.chip_config import ChipConfig, Words
from bcall_hw.errors import InvalidValue
from bcall_hw.recording import SpikeRecording
from bcall_hw.recording.spikes import Spikes
from bcall_hw.recording.writer import SessionWriter
from bcall_hw.stimulus import Stimulus


class Recorder:
    """Any backend, with a session's file beside it; it answers as the backend does.

    Args:
        backend: does the work.
        writer: of the file, which is new; closing the recorder closes both.

    Attributes:
        kind: what the runs are from here on: "run", or "rest" for those that only let the board come to rest.
    """

    def __init__(self, backend: Backend, writer: SessionWriter) -> None:
        self.backend, self.writer, self.kind = backend, writer, "run"

    @property
    def name(self) -> str:
        """Of the backend."""
        return self.backend.name

    @property
    def board(self) -> str:
        """Of the backend."""
        return self.backend.board

    def describe(self) -> dict[str, Any]:
        """Of the backend."""
        return self.backend.describe()

    @property
    def warnings(self) -> list[str]:
        """Of the backend."""
        return self.backend.warnings

    def preview(self, config: ChipConfig) -> Words:
        """Of the backend."""
        return self.backend.preview(config)

    def apply(self, config: ChipConfig) -> int:
        """Apply, then write down the words."""
        written = self.backend.apply(config)
        self.writer.applied(config, written)
        return written

    def run(self, stimulus: Stimulus, duration_s: float, *, sink: Sink | None = None) -> SpikeRecording:
        """Run; spikes are written down as they become known."""
        ahead = hashlib.sha256()

        def take(spikes: Spikes, reached_us: int) -> None:
            ahead.update(spikes.tobytes())
            self.writer.spikes(spikes, reached_us)
            if sink is not None:
                sink(spikes, reached_us)

        self.writer.began(stimulus, round(duration_s * 1e6), self.kind)
        recording = self.backend.run(stimulus, duration_s, sink=take)
        if ahead.hexdigest() != recording.sha256:
            self.writer.restarted()
            self.writer.spikes(recording.spikes, recording.duration_us)
        self.writer.ended(recording.noted)
        return recording

    def read_back(self) -> ChipConfig:
        """Of the backend."""
        return self.backend.read_back()

    def save_state(self) -> dict[str, Any]:
        """Of the backend."""
        return self.backend.save_state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Refused: the file would not tell it.

        Raises:
            InvalidValue: always, unless there is nothing to load.
        """
        if state:
            what, fix = "a state cannot be loaded while a session is recorded", "Record from the beginning, without --resume."
            raise InvalidValue(what, where=str(self.writer.path), fix=fix)

    def close(self) -> None:
        """Close the backend, and end the file."""
        try:
            self.backend.close()
        finally:
            self.writer.close()
