"""A board that is open in samna: registers written through samna's objects, runs, spikes."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

from .adapters import Adapter, NoSuchBoard
from .frames import VIRTUAL_VARIABLE

_SLICE_US = 250_000
#: After a run whose neurons go on firing, read for so long at most (s).
_MOST_AFTER_S = 5.0
_CAM, _SRAM, _BIAS, _TAU2 = (struct.Struct(layout) for layout in ("<7H", "<10H", "<5H", "<4H"))
_EVENT = struct.Struct("<HBBH")


class Broken(Exception):
    """The parent asked to stop, or has gone."""


class Device:
    """One open board. Every array has a fixed row of 16-bit numbers, named in `registers` of the parent.

    Args:
        samna: the module.
        adapter: how this samna opens boards.
        serial: which board; None for the only one.
        biases: names of the biases in the order of their numbers.
        types: name of each synapse type by its code.
        probe: number of a bias that matters to no neuron.
    """

    def __init__(
        self, samna: Any, adapter: Adapter, serial: str | None, biases: list[str], types: dict[str, str], probe: int
    ) -> None:
        self._samna, self._adapter = samna, adapter
        found = adapter.boards()
        serials = [board.serial_number for board in found]
        wanted = [board for board in found if serial in (None, board.serial_number)]
        if not wanted:
            raise NoSuchBoard(", ".join(serials))
        if len(wanted) > 1:
            raise NoSuchBoard("several boards: " + ", ".join(serials))
        self.info = describe(wanted[0])
        self._model = adapter.open(wanted[0])
        # Parts point into the root and do not keep it alive: the root stays here.
        self._root = self._model.get_configuration()
        cores = [(c, k, core) for c, chip in enumerate(self._root.chips) for k, core in enumerate(chip.cores)]
        self._neurons = {(c, k, n): neuron for c, k, core in cores for n, neuron in enumerate(core.neurons)}
        self._per_core = len(cores[0][2].neurons)
        self._parameters = {(c, k): [core.parameter_group.param_map[name] for name in biases] for c, k, core in cores}
        kinds = samna.dynapse1.Dynapse1SynType
        self._types = {int(code): getattr(kinds, name) for code, name in types.items()}
        self._api = self._model.get_dynapse1_api()
        self._generator, self._poisson = self._model.get_fpga_spike_gen(), self._model.get_poisson_gen()
        self._poisson_chip: int | None = None
        self._rates: dict[int, float] = {}
        self._sink = adapter.sink(self._model)
        self._probe, self._idle = probe, 0

    def close(self) -> None:
        """Stop the generators and let the board go."""
        self._generator.stop()
        self._poisson.stop()
        self._adapter.close(self._model)

    # Registers -------------------------------------------------------------------------------------------------------

    def write(self, cam: bytes, sram: bytes) -> None:
        """Put CAM and SRAM entries into samna's configuration and apply it once.

        A row of CAM: chip, core, neuron, entry, source core, source neuron, type. Of SRAM: chip, core, neuron, entry, virtual
        core, sy, dy, sx, dx, core mask.
        """
        at, entries = None, []
        for chip, core, neuron, entry, source_core, source_neuron, kind in _CAM.iter_unpack(cam):
            if (chip, core, neuron) != at:
                at = (chip, core, neuron)
                entries = self._neurons[at].synapses
            synapse = entries[entry]
            synapse.listen_core_id, synapse.listen_neuron_id, synapse.syn_type = source_core, source_neuron, self._types[kind]
        for chip, core, neuron, entry, virtual_core, sy, dy, sx, dx, mask in _SRAM.iter_unpack(sram):
            destination = self._neurons[chip, core, neuron].destinations[entry]
            destination.virtual_core_id, destination.core_mask = virtual_core, mask
            destination.sx, destination.dx, destination.sy, destination.dy = bool(sx), dx, bool(sy), dy
            destination.in_use = mask > 0
        self._model.apply_configuration(self._root)

    def write_biases(self, rows: bytes) -> None:
        """A row: chip, core, number of the bias, coarse, fine.

        Each is set in samna's configuration too: applying that overwrites samna's copy of the biases, unsent.
        """
        for chip, core, number, coarse, fine in _BIAS.iter_unpack(rows):
            parameter = self._parameters[chip, core][number]
            parameter.coarse_value, parameter.fine_value = coarse, fine
            self._model.update_single_parameter(parameter, chip, core)

    def write_leak_choices(self, rows: bytes) -> None:
        """A row: chip, core, neuron, 1 for the second leak; neuron 0xffff brings the whole core back to the first."""
        for chip, core, neuron, chosen in _TAU2.iter_unpack(rows):
            if neuron == 0xFFFF and not chosen:
                self._api.reset_tau_1(chip, core)
            else:
                self._api.set_tau_2(chip, core * self._per_core + neuron)

    def copy(self) -> bytes:
        """Samna's own copy, read anew.

        Neuron by neuron all CAM rows (source core, source neuron, type) and SRAM rows (virtual core, sy, dy, sx, dx, core
        mask); then core by core all biases (coarse, fine).
        """
        root = self._model.get_configuration()
        found = array("H")
        names = [parameter.param_name for parameter in self._parameters[0, 0]]
        for chip in root.chips:
            for core in chip.cores:
                for neuron in core.neurons:
                    for s in neuron.synapses:
                        found.extend((s.listen_core_id, s.listen_neuron_id, int(s.syn_type)))
                    for d in neuron.destinations:
                        found.extend((d.virtual_core_id, d.sy, d.dy, d.sx, d.dx, d.core_mask))
        for chip in root.chips:
            for core in chip.cores:
                values = core.parameter_group.param_map
                for name in names:
                    found.extend((values[name].coarse_value, values[name].fine_value))
        return found.tobytes()

    # Stimulus and spikes ---------------------------------------------------------------------------------------------

    def load(self, events: bytes, isi_base: int) -> None:
        """A stimulus list. A row: interval, chip, core mask, tag."""
        listed = []
        for isi, chip, mask, tag in _EVENT.iter_unpack(events):
            event = self._samna.dynapse1.FpgaSpikeEvent()
            event.isi, event.target_chip, event.core_mask, event.neuron_id = isi, chip, mask, tag
            listed.append(event)
        self._generator.set_variable_isi_mode(True)  # before the list, or intervals are not stored
        self._generator.set_isi_multiplier(isi_base)
        if self._generator.get_repeat_mode():
            self._generator.set_repeat_mode(False)
        self._generator.preload_stimulus(listed)

    def set_rates(self, chip: int, rates: dict[int, float]) -> None:
        """Poisson rates (Hz) of some sources, and the chip that all of them reach."""
        if chip != self._poisson_chip:
            self._poisson.set_chip_id(chip)
            self._poisson_chip = chip
        for source, rate in rates.items():
            if self._rates.get(source, 0.0) != rate:
                self._poisson.write_poisson_rate_hz(source, rate)
                self._rates[source] = rate

    def run(
        self,
        parent: socket.socket,
        duration_us: int,
        listed: bool,
        poisson: bool,
        quiet_s: float,
        most: int,
        part: Callable[[list[tuple[int, int]], list[bytes]], None] | None = None,
    ) -> tuple[list[tuple[int, int]], list[bytes], int]:
        """Reset the time stamps, start the generators, wait, stop, and read until the board is quiet.

        `part` is given the same readings and spikes some times in a second of the run, as they come.

        Returns:
            For each reading (spikes, us that the run had lasted by the host); the spikes as time stamps (int32), chips, cores
            and neurons (uint16 each); events that waited from before.

        Raises:
            Broken: the parent asked to stop, or has gone.
        """
        stale, self._idle = self._idle + len(self._events()), 0
        readings: list[tuple[int, int]] = []
        columns = [array("i"), array("H"), array("H"), array("H")]
        given, given_us, given_readings = 0, 0, 0
        self._api.reset_timestamp()
        began = time.monotonic()
        if poisson:
            self._poisson.start()
        if listed:
            self._generator.start()
        try:
            for slept_us in _slices(duration_us, parent):
                self._read(columns, readings, max(slept_us, _us_since(began)))
                if len(columns[0]) > most:
                    break
                if part is not None and slept_us - given_us >= _SLICE_US:
                    part(readings[given_readings:], [column[given:].tobytes() for column in columns])
                    given, given_us, given_readings = len(columns[0]), slept_us, len(readings)
        finally:
            if listed:
                self._generator.stop()
            if poisson:
                self._poisson.stop()
        last = end = time.monotonic()
        # Stamps come in order: once one lies behind the end of the run, all of the run are here.
        while not (columns[0] and columns[0][-1] > duration_us) and time.monotonic() - last < quiet_s:
            if self._read(columns, readings, max(duration_us, _us_since(began))):
                last = time.monotonic()
            if time.monotonic() - end > _MOST_AFTER_S or len(columns[0]) > most:
                break
            _listen(parent, 0.002)
        self._write_probe()
        return readings, [column.tobytes() for column in columns], stale

    def more(self) -> tuple[list[tuple[int, int]], list[bytes]]:
        """What came since the last reading of a run, as in `run`."""
        readings: list[tuple[int, int]] = []
        columns = [array("i"), array("H"), array("H"), array("H")]
        self._read(columns, readings, 0)
        return readings, [column.tobytes() for column in columns]

    def idle(self) -> None:
        """Throw away what came between runs, and count it."""
        self._idle += len(self._events())

    def _write_probe(self) -> None:
        """Words that the board confirms: if it is gone, libcaer says so now."""
        parameter = self._parameters[0, 0][self._probe]
        fine = parameter.fine_value
        for value in (fine ^ 1, fine):
            parameter.fine_value = value
            self._model.update_single_parameter(parameter, 0, 0)

    def _events(self) -> list[Any]:
        events: list[Any] = self._sink.get_events()
        return events

    def _read(self, columns: list[array[int]], readings: list[tuple[int, int]], at_us: int) -> int:
        events = self._events()
        try:
            chips = [e.chip_id for e in events]
        except AttributeError:  # wrap events among the spikes: readings tell what they would
            events = [e for e in events if hasattr(e, "chip_id")]
            chips = [e.chip_id for e in events]
        if events:
            columns[0].extend([e.timestamp for e in events])
            columns[1].extend(chips)
            columns[2].extend([e.core_id for e in events])
            columns[3].extend([e.neuron_id for e in events])
            readings.append((len(events), at_us))
        return len(events)


def describe(board: Any) -> dict[str, Any]:
    """A board as samna lists it."""
    names = ("serial_number", "device_type_name", "logic_version", "usb_bus_number", "usb_device_address")
    return {name: getattr(board, name, None) for name in names} | {"virtual": bool(os.environ.get(VIRTUAL_VARIABLE))}


def _slices(duration_us: int, parent: socket.socket) -> Iterator[int]:
    """Sleep in parts, with an ear for the parent; each time, us slept so far."""
    slept = 0
    while slept < duration_us:
        part = min(_SLICE_US, duration_us - slept)
        # Rounded up to whole microseconds on its way to the system: half of one less gives exactly `part`.
        select.select([], [], [], (part - 0.5) * 1e-6)
        slept += part
        yield slept
        _listen(parent, 0)


def _us_since(began: float) -> int:
    return int((time.monotonic() - began) * 1e6)


def _listen(parent: socket.socket, seconds: float) -> None:
    ready, _, _ = select.select([parent], [], [], seconds)
    if ready:
        raise Broken
