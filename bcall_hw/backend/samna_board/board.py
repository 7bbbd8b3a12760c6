"""A DYNAP-SE1 board behind samna, as a backend."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from numbers import Real
from types import TracebackType
from typing import Any, Literal

import numpy as np

from bcall_hw.backend.samna_board import registers
from bcall_hw.backend.samna_board.client import Client
from bcall_hw.backend.samna_board.hold import BoardLock
from bcall_hw.backend.samna_board.spikes import Read, spikes_of_run
from bcall_hw.backend.samna_board.virtual.server import VirtualBoardServer
from bcall_hw.chip_config import WORD_DTYPE, ChipConfig, Words
from bcall_hw.chip_model import DEFAULT_CHIP, ChipModel, load_chip
from bcall_hw.errors import (
    BackendProblem,
    BackendUnavailable,
    EventFlood,
    InvalidValue,
    NoSuchBoard,
    SpikesLost,
    StimulusProblem,
)
from bcall_hw.recording import SpikeRecording
from bcall_hw.stimulus import Stimulus

#: Time limits of requests (s): asking, starting samna, opening a board, writing registers, and what a run may take longer.
_ASK_S, _START_S, _OPEN_S, _WRITE_S, _RUN_MORE_S = 20.0, 60.0, 30.0, 60.0, 60.0


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
        _check_options(ports, debounce_us, quiet_s, max_spikes, on_loss)
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
            found = self._request("boards", "looking for boards", _ASK_S)[0]["boards"]
            lock = self._lock = BoardLock(_chosen(found, serial), environment)
            opening.callback(lock.release)
            names = [bias.name for bias in self._chip.biases]
            types = {str(t.code): t.name for t in self._chip.synapse_types}
            opened, _ = self._request(
                "open", f"opening board {lock.serial}", _OPEN_S, serial=lock.serial, biases=names, types=types
            )
            self._info = opened["board"]
            known = registers.Known.after_opening(self._chip)
            self._send(registers.silence(known))
            self._known = registers.silenced(known)
            opening.pop_all()
        self._at_exit = weakref.finalize(self, _let_go, self._client, lock, virtual)

    def _request(self, do: str, doing: str, seconds: float, body: bytes = b"", **head: Any) -> tuple[dict[str, Any], bytes]:
        """A request to the worker; what stopped a virtual board of its own is told instead of its consequences."""
        try:
            return self._client.request(do, doing, seconds, body, **head)
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
    def serial(self) -> str:
        """The board's serial number."""
        return str(self._info["serial_number"])

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
        options = {"debounce_us": self._debounce_us, "quiet_s": self._quiet_s}
        board = {"board": self._info} | ({"virtual": self._virtual.board.describe()} if self._virtual else {})
        return {"backend": self.name, "samna": self._samna, "chip_fingerprint": self._chip.fingerprint, **board, **options}

    @property
    def warnings(self) -> list[str]:
        """What is worth knowing of the last apply or run."""
        return list(self._notes)

    # Registers -------------------------------------------------------------------------------------------------------

    def preview(self, config: ChipConfig) -> Words:
        """The words that `apply` would send now, in order; a reset of a core's leak choices stands as one word for each neuron.

        Raises:
            As `apply`; nothing is sent.
        """
        self._check(config)
        return np.concatenate([np.zeros(0, dtype=WORD_DTYPE), *(s.words for s in registers.steps(self._known, config))])

    def apply(self, config: ChipConfig) -> int:
        """Bring the chips of `config` to it. Returns the number of words written.

        Raises:
            InvalidValue: for another chip model.
            FieldOverflow, NetworkDoesNotFit: values that samna would truncate; nothing is sent then.
            BackendProblem: see `errors`.
        """
        self._check(config)
        written = self._send(registers.steps(self._known, config))
        self._known, self._chips, self._notes = registers.after(self._known, config), config.chips, []
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
                self._request(step.do, f"writing {len(step.words)} words", _WRITE_S, body, cam=first)
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

    def run(self, stimulus: Stimulus, duration_s: float) -> SpikeRecording:
        """Play a stimulus and record spikes.

        Times count from the reset of the board's time stamps, just before the stimulus starts.

        Args:
            stimulus: list and Poisson sources.
            duration_s: a multiple of 1 us.

        Raises:
            StimulusProblem: what the board cannot play, or would play elsewhere.
            EventFlood, SpikesLost, TimestampsBroken, BoardLost, WorkerDied, WorkerHangs: see `errors`.
        """
        self._applied()
        duration_us = _microseconds(duration_s)
        self._check_stimulus(stimulus, duration_us)
        listed, poisson = len(stimulus.events) > 0, bool(np.any(stimulus.poisson_played_hz > 0))
        if listed:
            self._request("load", "loading a stimulus", _WRITE_S, stimulus.events.tobytes(), isi_base=stimulus.isi_base)
        if poisson or self._poisson_was_on:
            self._set_rates(stimulus)
        self._poisson_was_on = poisson
        dropped, sent = self._client.dropped, self._virtual.spikes_sent if self._virtual else 0
        answer, body = self._request(
            "run", "running", duration_us * 1e-6 + _RUN_MORE_S, duration_us=duration_us, listed=listed, poisson=poisson,
            quiet_s=self._quiet_s, most=self._most,
        )  # fmt: skip
        read = Read.unpack(body, [(int(count), int(at)) for count, at in answer["readings"]])
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
            (found.stale, "have time stamps from before the run and are left out"),
        )
        self._notes = [f"{count} spikes {what}" for count, what in told if count]
        missing = self._virtual.spikes_sent - sent - len(read.stamps) if self._virtual else 0
        self._tell_loss(self._client.dropped - dropped, missing)
        return SpikeRecording(found.spikes, duration_us, self.name, self._virtual.board.profile.seed if self._virtual else None)

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


def start_samna(client: Client, ports: tuple[int, int] | None = None) -> dict[str, Any]:
    """Make sure that the worker has the real samna, and start it.

    Raises:
        BackendUnavailable: no samna, or only the loader.
    """
    found, _ = client.request("find", "looking for samna", _ASK_S)
    if found["kind"] != "binary":
        what = "samna is not installed" if found["kind"] == "absent" else "the samna that is installed is only the loader"
        used = f"{client.python} (Python {found['python']})"
        raise BackendUnavailable(what, where="samna", used=used, fix=found["advice"])
    started, _ = client.request("start", "starting samna", _START_S, ports=list(ports) if ports else None)
    return started


def _chosen(boards: list[dict[str, Any]], serial: str | None) -> str:
    serials = [str(board["serial_number"]) for board in boards]
    there = f"there: {', '.join(serials)}" if serials else "no board at all"
    if serial is not None and serial not in serials:
        fix = "Plug it in, or see `bcall-hw boards`."
        raise NoSuchBoard("no board with this serial number", where="samna", used=serial[:40], limit=there, fix=fix)
    if not serials:
        fix = 'Plug it in and see `bcall-hw boards`; without one, "samna:virtual" and "emulator" work.'
        raise NoSuchBoard("no board is plugged in", where="samna", fix=fix)
    if serial is None and len(serials) > 1:
        raise NoSuchBoard(
            "several boards are plugged in", where="samna", used=", ".join(serials), fix="Say which: samna:<serial>."
        )
    return serial or serials[0]


def _check_options(ports: tuple[int, int] | None, debounce_us: int, quiet_s: float, max_spikes: int, on_loss: str) -> None:
    if ports is not None and not (
        len(ports) == 2 and all(type(p) is int and 0 < p < 65536 for p in ports) and ports[0] != ports[1]
    ):
        raise InvalidValue("two different ports are needed", where="samna ports", used=ports, limit="1 to 65535")
    if type(debounce_us) is not int or debounce_us < 0:
        raise InvalidValue("impossible time", where="samna debounce_us", used=debounce_us, limit="0 or more, whole")
    if isinstance(quiet_s, bool) or not isinstance(quiet_s, Real) or not 0 < quiet_s <= 60:
        raise InvalidValue("impossible time", where="samna quiet_s", used=quiet_s, limit="above 0, up to 60")
    if type(max_spikes) is not int or max_spikes < 1:
        raise InvalidValue("impossible number", where="samna max_spikes", used=max_spikes, limit="1 or more")
    if on_loss not in ("refuse", "warn"):
        raise InvalidValue("no such choice", where="samna on_loss", used=on_loss, limit="refuse or warn")


def _microseconds(duration_s: float) -> int:
    fine = not isinstance(duration_s, bool) and isinstance(duration_s, Real) and np.isfinite(duration_s) and duration_s < 1e6
    us = round(duration_s * 1e6) if fine else 0
    if us < 1 or abs(duration_s * 1e6 - us) > 1e-3:
        raise InvalidValue("impossible duration (s)", where="samna run", used=str(duration_s)[:40], limit="a multiple of 1 us")
    return us


def _let_go(client: Client, lock: BoardLock, virtual: VirtualBoardServer | None) -> None:
    client.close()
    lock.release()
    if virtual is not None:
        virtual.close()
