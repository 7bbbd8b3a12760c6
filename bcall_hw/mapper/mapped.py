"""MappedNetwork: a network with its registers, and the way between its names and the chip's addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import InvalidValue, UnknownName
from bcall_hw.mapper.cam import PlasticSlots, write_flips
from bcall_hw.mapper.place import Core
from bcall_hw.mapping import BiasChoice
from bcall_hw.network import Network
from bcall_hw.recording import SpikeRecording
from bcall_hw.stimulus import Stimulus

Train = tuple[IntArray, FloatArray]


@dataclass(frozen=True, eq=False)
class MappedNetwork:
    """What the mapper returns.

    Attributes:
        network: what was mapped.
        config: the registers.
        addresses: for each population, int (size, 3): chip, core, neuron.
        input_tags: for each input, the tag of each source; -1 for a source without targets.
        input_reach: for each input, the cores that each source reaches.
        plastic: for each plastic connection, where its synapses are.
        biases: for each used core, the chosen codes with predicted values.
        warnings: what is allowed but worth knowing.
    """

    network: Network
    config: ChipConfig
    addresses: Mapping[str, IntArray]
    input_tags: Mapping[str, IntArray]
    input_reach: Mapping[str, list[frozenset[Core]]]
    plastic: Mapping[str, PlasticSlots]
    biases: Mapping[Core, list[BiasChoice]]
    warnings: list[str]

    def stimulus(self, trains: Mapping[str, Train]) -> Stimulus:
        """The list stimulus of spike trains: for each input, (source indices, times in us), in any order.

        Raises:
            UnknownName, InvalidValue, StimulusProblem: unknown input, index out of range, or the FPGA's limits.
        """
        times, rows = [], []
        for name, (ids, times_us) in trains.items():
            if name not in self._reach_tables:
                raise UnknownName(
                    "no input of that name", where="stimulus", used=name, fix=f"Known: {', '.join(self.input_tags)}"
                )
            start, table = self._reach_tables[name]
            if len(ids) and not 0 <= int(np.min(ids)) <= int(np.max(ids)) < len(start) - 1:
                raise InvalidValue(
                    "source index out of range", where=f"input {name!r}", used=int(np.max(ids)), limit=len(start) - 2
                )
            count = start[ids + 1] - start[ids]
            event = np.repeat(np.arange(len(ids)), count)
            within = np.arange(event.size) - np.repeat(np.cumsum(count) - count, count)
            rows.append(table[start[ids][event] + within])
            times.append(np.asarray(times_us, dtype=np.float64)[event])
        if not times:
            return Stimulus(self.config.chip)
        all_times, all_rows = np.concatenate(times), np.concatenate(rows)
        order = np.lexsort((all_rows[:, 2], all_times))
        return Stimulus.from_times(self.config.chip, all_times[order], *all_rows[order].T)

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
        """For each population, (neuron indices, times in us) of a recording."""
        spikes = recording.spikes
        owner, index = self._neuron_at
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
        """`config` with some synapses of a plastic connection made present or parked."""
        cam = config.cam.copy()
        write_flips(cam, config.chip, config.chips, self.plastic[connection], post, slot, on)
        return config.with_registers(cam=cam)

    def utilisation(self) -> dict[str, Any]:
        """Used and available neurons, CAM and SRAM entries, FPGA sources, and tags and neurons of each core."""
        config, chip = self.config, self.config.chip
        g, cleared = chip.geometry, chip.cam.cleared
        is_cleared = np.ones(config.cam.shape, dtype=bool)
        for name in ("source_core", "source_neuron", "type"):
            is_cleared &= config.cam[name] == getattr(cleared, name)
        neurons = np.concatenate(list(self.addresses.values()))
        cores = []
        for chip_id in config.chips:
            for core in range(g.cores):
                mine = neurons[(neurons[:, 0] == chip_id) & (neurons[:, 1] == core)]
                entries = ~is_cleared[config.chips.index(chip_id), core]
                tags = {
                    t
                    for n, r in self.input_reach.items()
                    for t, c in zip(self.input_tags[n].tolist(), r, strict=True)
                    if (chip_id, core) in c
                }
                names = [n for n, a in self.addresses.items() if bool(np.any((a[:, 0] == chip_id) & (a[:, 1] == core)))]
                cores.append(
                    {
                        "chip": chip_id, "core": core, "populations": names, "neurons": len(mine),
                        "cam_used": int(entries.sum()), "cam_most": int(entries.sum(axis=1).max()), "input_tags": len(tags),
                    }
                )  # fmt: skip
        total = len(config.chips) * g.cores * g.neurons
        return {
            "neurons": {"used": len(neurons), "of": total},
            "cam": {"used": int((~is_cleared).sum()), "of": int(is_cleared.size)},
            "sram": {"used": int((config.sram["core_mask"] > 0).sum()), "of": int(config.sram.size)},
            "fpga_sources": {"used": sum(int((t >= 0).sum()) for t in self.input_tags.values()), "of": chip.stimulus.sources},
            "cores": cores,
        }
