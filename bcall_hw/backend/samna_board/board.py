"""A DYNAP-SE1 board behind samna, as a backend."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bcall_hw.backend import Sink
from bcall_hw.backend.samna_board import registers
from bcall_hw.backend.samna_board.client import Client, Part
from bcall_hw.backend.samna_board.hold import BoardLock
from bcall_hw.backend.samna_board.opening import ASK_S, check_options, chosen_board, microseconds, start_samna
from bcall_hw.backend.samna_board.spikes import Forerunner, Read, spikes_of_run
from bcall_hw.chip_config import WORD_DTYPE, ChipConfig, Words
from bcall_hw.chip_model import DEFAULT_CHIP, ChipModel, load_chip
from bcall_hw.errors import (
    BackendProblem,
    EventFlood,
    InvalidValue,
    SpikesLost,
    StimulusProblem,
)
from bcall_hw.recording import SpikeRecording
from bcall_hw.stimulus import Stimulus

if TYPE_CHECKING:
    from bcall_hw.backend.samna_board.virtual.server import VirtualBoardServer

#: Time limits (s): opening a board, writing anything and each word of it, what a run may take longer than itself. Nobody has
#: measured a board's USB: they are generous, for a request that is given up leaves the registers unknown.
_OPEN_S, _WRITE_S, _WORD_S, _RUN_MORE_S = 120.0, 60.0, 0.002, 60.0
_ON_ITS_WAY_S = 10.0


class SamnaBoard:
    """A board that samna drives in a process of its own; a crash or hang there becomes an error here.

    Opening clears the CAM and SRAM of all chips and silences all cores: every bias is written, with the chip model's quiet
    codes, so that nothing is left to chance. The first `apply` writes every CAM word of its chips, later ones the difference.
    The chip cannot be read: `read_back` is samna's own copy.

    Args:
        serial: of the board; None for the only one that is plugged in.
        chip: the chip model, or its name.
        python: interpreter that has samna; `BCALL_SAMNA_PYTHON`, or the one that runs, if absent.
        ports: two network ports for samna's own connections; free ones if absent.
        debounce_us: drop a spike that follows one of the same neuron by less (us); 0 drops none.
        quiet_s: after a run, read until no spike has come for so long.
        max_spikes: more in one run are an `EventFlood`.
        on_loss: "refuse" a run of which spikes were lost, or "warn".
        environment: added to the worker's environment.
        virtual: the server of a virtual board of its own, which is closed with this.

    Attributes:
        left_out: spikes that the last run left out: those from before its time stamps were reset, those from after its end, and
            those that the de-bounce took.

    Raises:
        BackendUnavailable: no samna, only the loader, or the interpreter cannot be started.
        NoSuchBoard, BoardBusy, PortInUse, WorkerDied, WorkerHangs: see `errors`.
    """

    def __init__(
        self,
        serial: str | None = None,
        chip: str | ChipModel = DEFAULT_CHIP,
        python: str | None = None,
        ports: tuple[int, int] | None = None,
        debounce_us: int = 0,
        quiet_s: float = 0.05,
        max_spikes: int = 1_000_000,
        on_loss: Literal["refuse", "warn"] = "refuse",
        environment: Mapping[str, str] | None = None,
        virtual: VirtualBoardServer | None = None,
    ) -> None:
        self._chip = load_chip(chip) if isinstance(chip, str) else chip
        check_options(ports, debounce_us, quiet_s, max_spikes, on_loss)
        self._debounce_us, self._quiet_s, self._most, self._on_loss = debounce_us, quiet_s, max_spikes, on_loss
        self._virtual, self._notes = virtual, list[str]()
        self._poisson_was_on = False
        self.left_out: dict[str, int] = {}
        self._chips: tuple[int, ...] = ()
        self._lock: BoardLock | None = None
        with contextlib.ExitStack() as opening:
            self._client = Client(python, environment)
            opening.callback(self._client.close)
            self._samna = start_samna(self._client, ports)
            found = self._request("boards", "looking for boards", ASK_S)[0]["boards"]
            lock = self._lock = BoardLock(chosen_board(found, serial, self._samna["opens_any"]), environment)
            opening.callback(lock.release)
            names = [bias.name for bias in self._chip.biases]
            probe = self._chip.bias_index(self._chip.device.probe.bias)
            types = {str(t.code): t.name for t in self._chip.synapse_types}
            opened, _ = self._request(
                "open", f"opening board {lock.serial}", _OPEN_S, serial=lock.serial, biases=names, types=types, probe=probe
            )
            self._info = opened["board"]
            known = registers.Known.after_opening(self._chip)
            self._send(registers.silence(known))
            self._known = registers.silenced(known)
            opening.pop_all()
        self._at_exit = weakref.finalize(self, _let_go, self._client, lock, virtual)

    def _request(
        self, do: str, doing: str, seconds: float, body: bytes = b"", part: Part | None = None, **head: Any
    ) -> tuple[dict[str, Any], bytes]:
        """A request to the worker; what stopped a virtual board of its own is told instead of its consequences."""
        try:
            return self._client.request(do, doing, seconds, body, part=part, **head)
        except BackendProblem:
            if self._client.state != "running" and self._lock is not None:
                self._lock.release()  # the board can be opened again
            if self._virtual is not None and self._virtual.problem is not None:
                raise self._virtual.problem from None
            raise

    # What it is ------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Backend and version, and whether the board is a virtual one."""
        return f"samna/{self._samna['version']}" + (" (virtual board)" if self._info["virtual"] else "")

    @property
    def board(self) -> str:
        """The board's serial number; of a virtual board that was opened with this, the name of its profile."""
        return self._virtual.board.profile.board if self._virtual else str(self._info["serial_number"])

    @property
    def state(self) -> str:
        """One of open, closed, and unknown: samna ended by force, and nobody knows what the registers hold."""
        return "open" if self._client.state == "running" else self._client.state

    @property
    def worker_process(self) -> int:
        """Process number of the worker."""
        return self._client.process_id

    def describe(self) -> dict[str, Any]:
        """Samna's version and how well it is known, and the board."""
        options = {"debounce_us": self._debounce_us, "quiet_s": self._quiet_s, "left_out": self.left_out}
        board = {"board": self._info} | ({"virtual": self._virtual.board.describe()} if self._virtual else {})
        return {"backend": self.name, "samna": self._samna, "chip_fingerprint": self._chip.fingerprint, **board, **options}

    @property
    def warnings(self) -> list[str]:
        """What is worth knowing of the last apply or run."""
        return list(self._notes)

    # Registers -------------------------------------------------------------------------------------------------------

    def preview(self, config: ChipConfig) -> Words:
        """The words that `apply` would send now.

        They come step by step; within a step (CAM and SRAM, biases, leak choices) samna chooses the order. A reset of a core's
        leak choices stands as one word for each neuron.

        Raises:
            As `apply`; nothing is sent.
        """
        self._check(config)
        planned = registers.steps(self._known, config, self._leaving(config))
        return np.concatenate([np.zeros(0, dtype=WORD_DTYPE), *(step.words for step in planned)])

    def apply(self, config: ChipConfig) -> int:
        """Bring the chips of `config` to it, and silence those that it no longer covers.

        Returns the number of words written.

        Raises:
            InvalidValue: for another chip model.
            FieldOverflow, NetworkDoesNotFit: values that samna would truncate; nothing is sent then.
            BackendProblem: see `errors`.
        """
        self._check(config)
        leaving = self._leaving(config)
        written = self._send(registers.steps(self._known, config, leaving))
        self._known = registers.after(self._known, config, leaving)
        self._chips, self._notes = config.chips, []
        if self._samna["evidence"] != "verified":
            self._notes.append(f"samna {self._samna['version']} is driven by what its documents say; nobody has tried it here")
        return written

    def sync(self) -> int:
        """Write every register of the chips applied last again, whatever samna's copy says.

        For a board that may not hold what was written: after a brown-out, or where its answers make no sense. All cores are
        silent meanwhile; neurons start anew from there. Returns the number of words written.

        Raises:
            BackendProblem: nothing applied yet; see `errors`.
        """
        self._applied()
        return self._send(registers.rewrite(self._known, self._chips))

    def _leaving(self, config: ChipConfig) -> list[int]:
        """Chips of the last configuration that the new one does not cover: they are silenced."""
        return sorted(set(self._chips) - set(config.chips))

    def _check(self, config: ChipConfig) -> None:
        self._alive()
        if not isinstance(config, ChipConfig):
            used, fix = type(config).__name__, "Of a mapped network it is `mapped.config`."
            raise InvalidValue("apply takes a ChipConfig", where="samna", used=used, fix=fix)
        if config.chip != self._chip:
            used, limit = config.chip.name, self._chip.name
            raise InvalidValue("configuration is for another chip model", where="samna", used=used, limit=limit)
        registers.check(config)

    def _send(self, planned: Iterator[registers.Step]) -> int:
        """Send steps; where one fails nobody knows how far it came, and the board is let go as unknown."""
        written = 0
        try:
            for step in planned:
                body, first = b"".join(part.tobytes() for part in step.parts), step.parts[0].nbytes
                seconds = _WRITE_S + _WORD_S * len(step.words)
                self._request(step.do, f"writing {len(step.words)} words", seconds, body, cam=first)
                written += len(step.words)
        except BaseException:
            self._client.abandon()
            if self._lock is not None:
                self._lock.release()
            raise
        return written

    def read_back(self) -> ChipConfig:
        """Samna's own copy of the registers of the chips applied last, read anew; the chip itself cannot be read.

        Raises:
            BackendProblem: nothing applied yet.
        """
        self._applied()
        _, body = self._request("copy", "reading samna's copy", _WRITE_S)
        return registers.read_copy(body, self._known).of_chips(self._chips)

    # Runs ------------------------------------------------------------------------------------------------------------

    def run(self, stimulus: Stimulus, duration_s: float, *, sink: Sink | None = None) -> SpikeRecording:
        """Play a stimulus and record spikes.

        Times count from the reset of the board's time stamps, just before the stimulus starts.

        Args:
            stimulus: list and Poisson sources.
            duration_s: a multiple of 1 us; of its time step on a virtual board of its own, as on the emulator.
            sink: see `Backend.run`; what came by then, some times in a second.

        Raises:
            StimulusProblem: what the board cannot play, or would play elsewhere.
            EventFlood, SpikesLost, TimestampsBroken, BoardLost, WorkerDied, WorkerHangs: see `errors`.
        """
        self._applied()
        duration_us = microseconds(duration_s, self._virtual.board.dt_us if self._virtual else 1)
        self._check_stimulus(stimulus, duration_us)
        listed, poisson = len(stimulus.events) > 0, bool(np.any(stimulus.poisson_played_hz > 0))
        if listed:
            self._request("load", "loading a stimulus", _WRITE_S, stimulus.events.tobytes(), isi_base=stimulus.isi_base)
        if poisson or self._poisson_was_on:
            self._set_rates(stimulus)
        self._poisson_was_on = poisson
        ahead = None if sink is None else Forerunner(self._chip, duration_us, sink)
        dropped, sent = self._client.dropped, self._virtual.spikes_sent if self._virtual else 0
        answer, body = self._request(
            "run", "running", duration_us * 1e-6 + _RUN_MORE_S, duration_us=duration_us, listed=listed, poisson=poisson,
            quiet_s=self._quiet_s, most=self._most, parts=sink is not None,
            part=ahead,
        )  # fmt: skip
        read = Read.unpack(body, answer["readings"])
        if self._virtual is not None:
            read = self._all_of(read, self._virtual.spikes_sent - sent, duration_us)
        if len(read.stamps) > self._most:
            fix = "A core that fires too much? Look at its biases, or raise max_spikes."
            raise EventFlood(
                "more spikes than a run may hold", where=self.name, used=len(read.stamps), limit=self._most, fix=fix
            )
        found = spikes_of_run(read, self._chip, duration_us, self._debounce_us)
        self.left_out = {"before": found.stale + answer["stale"], "after": found.late, "bounced": found.bounced}
        foreign = int(np.sum(~np.isin(found.spikes["chip"], self._chips)))
        told = (
            (foreign, f"came from chips other than {self._chips}, which are not configured"),
            (
                found.stale * (not len(found.spikes)),
                "have time stamps from before the run, and none is of it: did the reset arrive?",
            ),
        )
        self._notes = [f"{count} spikes {what}" for count, what in told if count]
        if self._virtual is not None and self._virtual.board.refused:
            (chip, core), why = next(iter(self._virtual.board.refused.items()))
            raise BackendProblem("the emulator cannot follow these registers", where=f"chip {chip} core {core}", used=why)
        missing = self._virtual.spikes_sent - sent - len(read.stamps) if self._virtual else 0
        self._tell_loss(self._client.dropped - dropped, missing)
        noted = {"dropped": self._client.dropped - dropped, "wraps": found.wraps, **self.left_out}
        seed = self._virtual.board.profile.seed if self._virtual else None
        if ahead is not None:
            ahead.end(found.spikes)
        return SpikeRecording(found.spikes, duration_us, self.name, seed, board=self.board, noted=noted)

    def _all_of(self, read: Read, sent: int, at_us: int) -> Read:
        """What was read, and what is still on its way through samna's own threads: a virtual board knows how much that is."""
        until = time.monotonic() + _ON_ITS_WAY_S
        while len(read.stamps) < sent and time.monotonic() < until:
            answer, body = self._request("more", "reading", ASK_S)
            read = read.joined(Read.unpack(body, [[count, at_us] for count, _ in answer["readings"]]))
            time.sleep(0.01)
        return read

    def _set_rates(self, stimulus: Stimulus) -> None:
        """Every source's rate; the middle of its step, so that truncation cannot take it to the one below."""
        step, sources = self._chip.poisson.step_hz, self._chip.stimulus.sources
        steps = np.zeros(sources)
        played = stimulus.poisson_played_hz
        steps[: len(played)] = np.rint(played / step)
        rates = np.where(steps > 0, np.minimum((steps + 0.5) * step, self._chip.poisson.max_hz), 0.0)
        chosen = {str(k): float(rate) for k, rate in enumerate(rates)}
        self._request("rates", "setting Poisson rates", _WRITE_S, chip=stimulus.poisson_chip, rates=chosen)

    def _check_stimulus(self, stimulus: Stimulus, duration_us: int) -> None:
        if not isinstance(stimulus, Stimulus):
            raise InvalidValue("run takes a Stimulus", where="samna", used=type(stimulus).__name__)
        if stimulus.chip != self._chip:
            raise InvalidValue("stimulus is for another chip", where="samna", used=stimulus.chip.name, limit=self._chip.name)
        stimulus.check_run(self._chips, duration_us)
        active = np.flatnonzero(stimulus.poisson_played_hz > 0)
        if active.size:
            self._check_poisson(stimulus, active)

    def _check_poisson(self, stimulus: Stimulus, active: np.ndarray[Any, Any]) -> None:
        """The board's Poisson sources reach all cores of their chip: no other core may listen to them."""
        chip_id, config = stimulus.poisson_chip, self._known.config
        if chip_id not in self._chips:
            used = f"chip {chip_id}"
            raise StimulusProblem(
                "Poisson sources target a chip that is not configured", where="stimulus", used=used, limit=self._chips
            )
        for core in range(self._chip.geometry.cores):
            if stimulus.poisson_core_mask >> core & 1:
                continue
            cam = config.cam[chip_id, core]
            tags = cam["source_core"].astype(np.int64) * self._chip.geometry.neurons + cam["source_neuron"]
            heard = np.intersect1d(tags, active)
            if heard.size:
                used, limit = f"source {self._chip.tag_name(int(heard[0]))}", f"core mask {stimulus.poisson_core_mask:#x}"
                fix = "Poisson sources reach every core of their chip: give this core's CAM entries other tags."
                raise StimulusProblem(
                    "listens to a Poisson source that is not for it",
                    where=f"chip {chip_id} core {core}",
                    used=used,
                    limit=limit,
                    fix=fix,
                )

    def _tell_loss(self, dropped: int, missing: int) -> None:
        told = [f"libcaer dropped spikes {dropped} times"] if dropped else []
        told += [f"{missing} of the virtual board's spikes did not arrive"] if missing > 0 else []
        if told and self._on_loss == "refuse":
            fix = 'Fewer spikes, or on_loss="warn" to take what came.'
            raise SpikesLost("spikes were lost on their way from the board", where=self.name, used="; ".join(told), fix=fix)
        self._notes += [f"spikes were lost on their way from the board: {what}" for what in told]

    def save_state(self) -> dict[str, Any]:
        """Nothing: a board's state cannot be read."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing to load into a board.

        Raises:
            InvalidValue: there is a state; it is another backend's.
        """
        if state:
            raise InvalidValue("a board's state cannot be set", where="samna", used=", ".join(sorted(state))[:80])

    # Its end ---------------------------------------------------------------------------------------------------------

    def _alive(self) -> None:
        if self._client.state != "running":
            raise self._client.gone()

    def _applied(self) -> None:
        self._alive()
        if not self._chips:
            raise BackendProblem("no configuration applied yet", where="samna", fix="Call apply(config) first.")

    def close(self) -> None:
        """Let the board go, and end the worker; `state` says how that went. Closing twice is allowed."""
        self._at_exit()

    def __enter__(self) -> SamnaBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _let_go(client: Client, lock: BoardLock, virtual: VirtualBoardServer | None) -> None:
    client.close()
    lock.release()
    if virtual is not None:
        virtual.close()
