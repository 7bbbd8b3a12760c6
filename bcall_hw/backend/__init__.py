"""The one face of everything that runs a configuration: emulator, board, recorded session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from bcall_hw.chip_config import ChipConfig, Words
from bcall_hw.errors import BackendUnavailable
from bcall_hw.recording import SpikeRecording
from bcall_hw.recording.spikes import Spikes
from bcall_hw.stimulus import Stimulus

#: Takes spikes of a run (`SPIKE_DTYPE`) and the time up to which they are all known (us).
Sink = Callable[[Spikes, int], None]


class Backend(Protocol):
    """Registers and stimulus in, spikes out. A backend keeps its state from run to run, as a board does."""

    @property
    def name(self) -> str:
        """What it is, e.g. "emulator/numba"."""
        ...

    @property
    def board(self) -> str:
        """Serial number of the board, or what stands for it where the board is emulated."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the results depend on besides registers and stimulus, as plain values."""
        ...

    @property
    def warnings(self) -> list[str]:
        """What is worth knowing of the registers that were applied last."""
        ...

    def preview(self, config: ChipConfig) -> Words:
        """The words that `apply` would write now; nothing is written."""
        ...

    def apply(self, config: ChipConfig) -> int:
        """Bring the registers to `config`; returns how many words had to be written."""
        ...

    def run(self, stimulus: Stimulus, duration_s: float, *, sink: Sink | None = None) -> SpikeRecording:
        """Play a stimulus and record the monitored spikes of the run.

        Args:
            sink: is given spikes as they become known, in order. The recording has the last word: a board's link may show
                only later that a spike was none of the run, or that some were still to come.
        """
        ...

    def read_back(self) -> ChipConfig:
        """The registers as the backend holds them."""
        ...

    def save_state(self) -> dict[str, Any]:
        """Arrays that bring a run back to this point with `load_state`; empty where a backend has no such thing."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that `save_state` of the same backend and configuration gave."""
        ...

    def close(self) -> None:
        """Let go of the device; closing twice is allowed."""
        ...


def open_backend(address: str, **options: Any) -> Backend:
    """Open a backend by address; options go to it.

    Args:
        address: "emulator" (see `Emulator`); "samna:<serial>", "samna:auto" for the only board, or "samna:virtual" for the real
            samna on a virtual board (see `samna_board.address`); "replay:<file>" for a recorded session (see `Replay`).

    Raises:
        BackendUnavailable: no such backend in this version, or it is not there.
    """
    if address == "emulator":
        from bcall_hw.backend.emulator.emulator import Emulator

        return Emulator(**options)
    kind, colon, board = address.partition(":")
    if kind == "samna" and colon:
        from bcall_hw.backend.samna_board.address import open_samna

        return open_samna(board, **options)
    if kind == "replay" and colon:
        from bcall_hw.backend.replay import Replay

        return Replay(Path(board), **options)
    fix = 'Use "emulator", "samna:auto", "samna:<serial>", "samna:virtual" or "replay:<file>".'
    raise BackendUnavailable("no such backend in this version", used=address, fix=fix)
