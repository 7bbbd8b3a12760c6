"""MappedNetwork: a network with its registers, and the way between its names and the chip's addresses."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.calibration import Calibration
from bcall_hw.chip_config import ChipConfig
from bcall_hw.defects import Defects
from bcall_hw.errors import InvalidValue, UnknownName
from bcall_hw.mapper.board import Core
from bcall_hw.mapper.departures import Departure
from bcall_hw.mapper.plastic import PlasticSlots, write_flips
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.mapping import BiasChoice, Mapping
from bcall_hw.network import Network
from bcall_hw.recording import SpikeRecording
from bcall_hw.stimulus import Stimulus

Train = tuple[IntArray, FloatArray]


@dataclass(frozen=True, eq=False)
class MappedNetwork:
    """What the mapper returns.

    Attributes:
        network: what is on the chip: what was asked, but for the departures.
        asked: the network that was given.
        config: the registers.
        addresses: for each population, int (size, 3): chip, core, neuron.
        input_tags: for each input, the tag of each source; -1 for a source without targets.
        input_reach: for each input, the cores that each source reaches.
        plastic: for each plastic connection, where its synapses are.
        biases: for each used core, the chosen codes with predicted values.
        warnings: what is allowed but worth knowing, the departures among it.
        departures: how `network` and its multiplicities differ from what was asked.
        synapses: every synapse of `network`.
        copies: int, shape (synapses,): CAM entries that each holds.
        mapping, calibration: that the codes were chosen with.
        defects: of the board that it was mapped for.
    """

    network: Network
    asked: Network
    config: ChipConfig
    addresses: MappingOf[str, IntArray]
    input_tags: MappingOf[str, IntArray]
    input_reach: MappingOf[str, list[frozenset[Core]]]
    plastic: MappingOf[str, PlasticSlots]
    biases: MappingOf[Core, list[BiasChoice]]
    warnings: list[str]
    departures: list[Departure]
    synapses: Synapses
    copies: IntArray
    mapping: Mapping
    calibration: Calibration
    defects: Defects

    def stimulus(
        self,
        trains: MappingOf[str, Train],
        isi_base: int | None = None,
        rates_hz: MappingOf[str, npt.ArrayLike] | None = None,
    ) -> Stimulus:
        """The stimulus of spike trains and Poisson rates.

        Args:
            trains: for each input played from the list, (source indices, times in us), in any order.
            isi_base: clock ticks per unit of time, see `Stimulus.from_times`.
            rates_hz: for each Poisson input, one rate for each source, or one for all.

        Raises:
            UnknownName, InvalidValue, StimulusProblem: unknown input, index out of range, or the FPGA's limits.
        """
        times, rows = [], []
        for name, (given_ids, given_us) in trains.items():
            ids, times_us = np.atleast_1d(np.asarray(given_ids)), np.atleast_1d(np.asarray(given_us, dtype=np.float64))
            if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
                used = (ids.shape, str(ids.dtype))
                raise InvalidValue("source indices must be one row of whole numbers", where=f"input {name!r}", used=used)
            ids = ids.astype(np.int64)
            self._known_input(name)
            start, table = self._reach_tables[name]
            if len(ids) != len(times_us):
                lengths = (len(ids), len(times_us))
                raise InvalidValue("source indices and times differ in length", where=f"input {name!r}", used=lengths)
            check_indices(ids, len(start) - 1, f"input {name!r}: source")
            count = start[ids + 1] - start[ids]
            event = np.repeat(np.arange(len(ids)), count)
            within = np.arange(event.size) - np.repeat(np.cumsum(count) - count, count)
            rows.append(table[start[ids][event] + within])
            times.append(np.asarray(times_us, dtype=np.float64)[event])
        poisson = self._poisson(rates_hz or {})
        if not times:
            return Stimulus(self.config.chip, **poisson)
        all_times, all_rows = np.concatenate(times), np.concatenate(rows)
        order = np.lexsort((all_rows[:, 2], all_times))
        chips, masks, tags = all_rows[order].T
        played = Stimulus.from_times(self.config.chip, all_times[order], chips, masks, tags, isi_base)
        return replace(played, **poisson)

    def _known_input(self, name: str) -> None:
        if name not in self.input_tags:
            known = ", ".join(self.input_tags) or "none"
            raise UnknownName("no input of that name", where="stimulus", used=name, fix=f"Known: {known}")

    def _poisson(self, rates_hz: MappingOf[str, npt.ArrayLike]) -> dict[str, Any]:
        """The part of a stimulus that its Poisson generators play."""
        rates, cores = np.zeros(self.config.chip.stimulus.sources), set[Core]()
        for name, given in rates_hz.items():
            self._known_input(name)
            group = next(i for i in self.network.inputs if i.name == name)
            if not group.poisson:
                fix = "Declare it with poisson = true, so that its cores are routed alike."
                raise InvalidValue("is no Poisson input", where=f"input {name!r}", used="a rate", fix=fix)
            try:
                values = np.asarray(given, dtype=np.float64)
            except (TypeError, ValueError):
                where, fix = f"input {name!r}", "Give numbers in Hz."
                raise InvalidValue("rates must be numbers", where=where, used=repr(given)[:80], fix=fix) from None
            if values.shape not in ((), (group.size,)):
                where = f"input {name!r}"
                raise InvalidValue("one rate, or one for each source", where=where, used=values.shape, limit=(group.size,))
            heard = self.input_tags[name] >= 0
            rates[self.input_tags[name][heard]] = np.broadcast_to(values, (group.size,))[heard]
            cores.update(*self.input_reach[name])
        if not cores:
            return {}
        chip = min(c for c, _ in cores)
        mask = sum(1 << core for _, core in cores)
        return {"poisson_rates_hz": rates, "poisson_chip": chip, "poisson_core_mask": mask}

    @cached_property
    def _reach_tables(self) -> dict[str, tuple[IntArray, IntArray]]:
        """For each input: where each source's rows begin, and rows (chip, core mask, tag), one per target chip."""
        tables = {}
        for name, reach in self.input_reach.items():
            rows, start = [], [0]
            for tag, cores in zip(self.input_tags[name].tolist(), reach, strict=True):
                rows += [(chip, sum(1 << k for c, k in cores if c == chip), tag) for chip in sorted({c for c, _ in cores})]
                start.append(len(rows))
            tables[name] = (np.array(start, dtype=np.int64), np.array(rows, dtype=np.int64).reshape(-1, 3))
        return tables

    def spikes_of(self, recording: SpikeRecording) -> dict[str, Train]:
        """For each population, (neuron indices, times in us) of a recording.

        Raises:
            InvalidValue: a spike from an address that this chip does not have.
        """
        spikes = recording.spikes
        owner, index = self._neuron_at
        for name, top in zip(("chip", "core", "neuron"), owner.shape, strict=True):
            check_indices(spikes[name], top, f"recording: {name}")
        at = (spikes["chip"], spikes["core"], spikes["neuron"])
        found = {}
        for number, name in enumerate(self.addresses):
            mine = owner[at] == number
            found[name] = (index[at][mine], spikes["time_us"][mine].astype(np.float64))
        return found

    @cached_property
    def _neuron_at(self) -> tuple[IntArray, IntArray]:
        g = self.config.chip.geometry
        owner = np.full((g.chips, g.cores, g.neurons), -1, dtype=np.int64)
        index = np.zeros_like(owner)
        for number, address in enumerate(self.addresses.values()):
            owner[tuple(address.T)] = number
            index[tuple(address.T)] = np.arange(len(address))
        return owner, index

    def with_flips(self, config: ChipConfig, connection: str, post: IntArray, slot: IntArray, on: BoolArray) -> ChipConfig:
        """`config` with some synapses of a plastic connection made present or parked.

        Raises:
            UnknownName: no plastic connection of that name.
            InvalidValue: an index out of range, or an unused slot.
        """
        if connection not in self.plastic:
            known = ", ".join(self.plastic) or "none"
            raise UnknownName(
                "no plastic connection of that name", where="mapped network", used=connection, fix=f"Known: {known}"
            )
        slots, where = self.plastic[connection], f"connection {connection!r}"
        check_indices(post, slots.sources.shape[0], f"{where}: post neuron")
        check_indices(slot, slots.sources.shape[1], f"{where}: slot")
        unused = np.flatnonzero(slots.sources[post, slot] < 0)
        if unused.size:
            used = (int(post[unused[0]]), int(slot[unused[0]]))
            raise InvalidValue("slot holds no synapse (post neuron, slot)", where=where, used=used)
        cam = config.cam.copy()
        write_flips(cam, config.chip, config.chips, slots, post, slot, on)
        return config.with_registers(cam=cam)


def check_indices(indices: npt.NDArray[Any], count: int, what: str) -> None:
    """Refuse an index below 0 or not below `count`, naming it."""
    bad = np.flatnonzero((np.asarray(indices) < 0) | (np.asarray(indices) >= count))
    if bad.size:
        raise InvalidValue(f"{what} index out of range", where="mapped network", used=int(indices[bad[0]]), limit=count - 1)
