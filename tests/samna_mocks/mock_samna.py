"""What the mock samnas share: it notes every call, keeps a copy as samna does, and drives a board that only remembers.

Environment: MOCK_SAMNA_CALLS and MOCK_SAMNA_STATE name files for the calls and for what the board holds when it is closed,
MOCK_SAMNA_BIASES the biases;
MOCK_SAMNA holds options: serials, spikes and stale (rows: time stamp, neuron, core, chip), and faults (rows: call, which
one of these calls or 0 for all, what happens).
"""

from __future__ import annotations

import enum
import json
import os
import signal
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

OPTIONS: dict[str, Any] = json.loads(os.environ.get("MOCK_SAMNA", "{}"))
CALLS: list[list[Any]] = []
_count: Counter[str] = Counter()
# (coarse, fine) of samna's copy, and what opening leaves on the chip, for some biases; the others are (1, 7) in the copy.
ZERO_IN_COPY = ("IF_AHW_P", "IF_CASC_N", "PS_WEIGHT_EXC_F_N")


def note(name: str, *arguments: Any) -> None:
    """Remember a call, and let happen what the options say."""
    CALLS.append([name, *arguments])
    _count[name] += 1
    if "MOCK_SAMNA_CALLS" in os.environ:
        with open(os.environ["MOCK_SAMNA_CALLS"], "a") as file:
            print(json.dumps(CALLS[-1]), file=file)
    for call, which, what in OPTIONS.get("faults", []):
        if call == name and which in (0, _count[name]):
            fail(what)


def fail(what: str) -> None:
    """Go wrong."""
    if what == "abort":
        os.abort()
    elif what == "segfault":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "exit":
        os._exit(3)
    elif what == "hang":
        time.sleep(600)
    elif what == "rubbish":
        for descriptor in (1, 2) * 20:
            os.write(descriptor, os.urandom(20_000) + b"\n")
    elif what.startswith("mumble "):
        os.write(2, what[7:].encode())
    elif what.startswith("print "):
        os.write(2, what[6:].encode() + b"\n")
    else:
        raise RuntimeError(what)


class SynType(enum.IntEnum):
    """As samna's."""

    GABA_B, GABA_A, NMDA, AMPA = range(4)


class Synapse:
    """One CAM entry."""

    def __init__(self, core: int, neuron: int, kind: int) -> None:
        self.listen_core_id, self.listen_neuron_id, self.syn_type = core, neuron, SynType(kind)

    def values(self) -> tuple[int, ...]:
        return self.listen_core_id, self.listen_neuron_id, int(self.syn_type)


class Destination:
    """One SRAM entry."""

    def __init__(self, *values: int) -> None:
        self.virtual_core_id, self.sy, self.dy, self.sx, self.dx, self.core_mask = values
        self.in_use = False

    def values(self) -> tuple[int, ...]:
        fields = (self.virtual_core_id, self.sy, self.dy, self.sx, self.dx, self.core_mask)
        return tuple(int(value) for value in fields)


CLEARED = [(0, 0, 2)] * 64  # samna says NMDA
UNSENT = [(0, 0, 0, 0, 0, 0)] * 4


class Neuron:
    """Made from samna's copy when it is first looked at."""

    def __init__(self, model: Model, at: tuple[int, int, int]) -> None:
        self._model, self.at = model, at
        self.made: tuple[list[Synapse], list[Destination]] | None = None

    def _parts(self) -> tuple[list[Synapse], list[Destination]]:
        if self.made is None:
            cam, sram = self._model.cam.get(self.at, CLEARED), self._model.sram.get(self.at, UNSENT)
            self.made = [Synapse(*v) for v in cam], [Destination(*v) for v in sram]
        return self.made

    @property
    def synapses(self) -> list[Synapse]:
        return self._parts()[0]

    @property
    def destinations(self) -> list[Destination]:
        return self._parts()[1]


class Generator:
    """A generator: every call is noted."""

    def __init__(self, name: str) -> None:
        self._name, self._repeat = name, True

    def get_repeat_mode(self) -> bool:
        return self._repeat

    def set_repeat_mode(self, on: bool) -> None:
        note("set_repeat_mode", on)
        self._repeat = on

    def preload_stimulus(self, events: list[Any]) -> None:
        note("preload_stimulus", [[e.isi, e.target_chip, e.core_mask, e.neuron_id] for e in events])

    def __getattr__(self, call: str) -> Any:
        name = f"{self._name}.{call}" if call in ("start", "stop") else call
        return lambda *arguments: note(name, *arguments)


class Model:
    """An open board."""

    def __init__(self) -> None:
        self.cam: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        self.sram: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        self.biases: dict[tuple[Any, ...], tuple[int, int]] = {}
        self.chip: dict[str, dict[str, Any]] = {"cam": {}, "sram": {}, "bias": {}, "tau2": {}}
        self.words = 0
        self.began: float | None = None
        self.given = 0

    def _send(self, kind: str, at: tuple[Any, ...], value: Any) -> None:
        self.words += 1
        self.chip[kind][json.dumps(at)] = value

    def get_configuration(self) -> Any:
        note("get_configuration")
        names = json.loads(os.environ["MOCK_SAMNA_BIASES"])
        chips = []
        for c in range(4):
            cores = []
            for k in range(4):
                codes = {b: self.biases.get((c, k, b), (0, 0) if b in ZERO_IN_COPY else (1, 7)) for b in names}
                group = {b: SimpleNamespace(param_name=b, coarse_value=v[0], fine_value=v[1]) for b, v in codes.items()}
                neurons = [Neuron(self, (c, k, n)) for n in range(256)]
                cores.append(SimpleNamespace(neurons=neurons, parameter_group=SimpleNamespace(param_map=group)))
            chips.append(SimpleNamespace(cores=cores))
        return SimpleNamespace(chips=chips)

    def apply_configuration(self, root: Any) -> None:
        note("apply_configuration")
        for c, chip in enumerate(root.chips):
            for k, core in enumerate(chip.cores):
                for neuron in core.neurons:
                    if neuron.made is not None:
                        self._apply(neuron)
                for name, p in core.parameter_group.param_map.items():  # kept, not sent
                    self.biases[c, k, name] = (p.coarse_value, p.fine_value)

    def _apply(self, neuron: Neuron) -> None:
        for kind, copy, made in (("cam", self.cam, neuron.synapses), ("sram", self.sram, neuron.destinations)):
            new: list[tuple[int, ...]] = [part.values() for part in made]  # type: ignore[attr-defined]
            for entry, (old, value) in enumerate(zip(copy.get(neuron.at, (CLEARED, UNSENT)[kind == "sram"]), new, strict=True)):
                if old != value:
                    self._send(kind, (*neuron.at, entry), value)
            copy[neuron.at] = new

    def update_single_parameter(self, p: Any, chip: int, core: int) -> None:
        note("update_single_parameter", p.param_name, p.coarse_value, p.fine_value, chip, core)
        at, code = (chip, core, p.param_name), (p.coarse_value, p.fine_value)
        if self.biases.get(at, (0, 0) if p.param_name in ZERO_IN_COPY else (1, 7)) != code:
            self._send("bias", at, code)
        self.biases[at] = code

    def set_tau_2(self, chip: int, neuron: int) -> None:
        note("set_tau_2", chip, neuron)
        self._send("tau2", (chip, neuron // 256, neuron % 256), 1)

    def reset_tau_1(self, chip: int, core: int) -> None:
        note("reset_tau_1", chip, core)
        for neuron in range(256):
            self._send("tau2", (chip, core, neuron), 0)

    def reset_timestamp(self) -> None:
        note("reset_timestamp")
        self.began, self.given = time.monotonic(), 0

    def get_dynapse1_api(self) -> Model:
        return self

    def get_fpga_spike_gen(self) -> Generator:
        return Generator("list")

    def get_poisson_gen(self) -> Generator:
        return Generator("poisson")

    def get_source_node(self) -> Model:
        note("get_source_node")
        return self

    def add_destination(self, channel: str) -> None:
        note("add_destination", channel)

    def events(self) -> list[Any]:
        if self.began is None:
            stale, OPTIONS["stale"] = OPTIONS.get("stale", []), []
            return [spike(*row) for row in stale]
        passed_us = (time.monotonic() - self.began) * 1e6
        ready = [row for row in OPTIONS.get("spikes", [])[self.given :] if row[0] <= passed_us]
        self.given += len(ready)
        return [SimpleNamespace(timestamp=0) for _ in ready[:1]] + [spike(*row) for row in ready]  # a wrap event too

    def close(self, *name: str) -> None:
        note("close_device", *name)
        if "MOCK_SAMNA_STATE" in os.environ:
            with open(os.environ["MOCK_SAMNA_STATE"], "w") as file:
                json.dump({"words": self.words, **self.chip}, file)


def spike(timestamp: int, neuron: int, core: int, chip: int) -> Any:
    return SimpleNamespace(timestamp=timestamp, neuron_id=neuron, core_id=core, chip_id=chip)


class Sink:
    """Where spikes arrive."""

    def get_input_channel(self) -> str:
        note("get_input_channel")
        return "channel"

    def get_events(self) -> list[Any]:
        fail_now = [what for call, _, what in OPTIONS.get("faults", []) if call == "get_events" and MODEL.began is not None]
        if fail_now:
            fail(fail_now[0])
        return MODEL.events()


class Graph:
    """An event graph."""

    def sequential(self, nodes: list[Any]) -> None:
        note("sequential", *(type(node).__name__ for node in nodes))

    def start(self) -> None:
        note("graph.start")


class FpgaSpikeEvent:
    """An event of the list."""


MODEL = Model()
dynapse1 = SimpleNamespace(Dynapse1SynType=SynType, FpgaSpikeEvent=FpgaSpikeEvent)


def unopened() -> list[Any]:
    note("get_unopened_devices")
    rest = {"device_type_name": "Dynapse1DevKit", "logic_version": 3, "usb_bus_number": 1, "usb_device_address": 2}
    return [SimpleNamespace(serial_number=serial, **rest) for serial in OPTIONS.get("serials", ["MOCK"])]


def open_device(info: Any, *name: str) -> Model:
    note("open_device", info.serial_number, *name)
    return MODEL


def samna_node(tx: str, rx: str, number: int) -> str:
    note("SamnaNode", tx, rx, number)
    return "the node"


def setup_local_node(rx: str, tx: str, number: int) -> None:
    note("setup_local_node", rx, tx, number)


def open_remote_node(number: int, name: str) -> None:
    note("open_remote_node", number, name)


def init_samna() -> str:
    note("init_samna")
    return "the node"


def sink_from(source: Any) -> Sink:
    note("sink_from", type(source).__name__)
    return Sink()


def sink_node() -> Sink:
    note("sink_node")
    return Sink()


note("import")
