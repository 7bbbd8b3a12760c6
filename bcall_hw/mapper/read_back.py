"""ChipConfig -> Network: what a register image delivers, read from the registers alone.

Names, parked synapses and sources that nobody hears are not in the registers; neuron parameters are the predicted ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.calibration import Calibration, load_calibration
from bcall_hw.chip_config import ChipConfig
from bcall_hw.defects import Defects
from bcall_hw.errors import EmptyNetwork, NetworkDoesNotFit
from bcall_hw.mapper.check import check, heard_tags
from bcall_hw.mapping import Mapping, idle_codes, load_mapping
from bcall_hw.network import Connection, Explicit, Input, Network, Place, Population
from bcall_hw.read_biases import parameters_of


@dataclass(frozen=True, eq=False)
class Delivered:
    """Every synapse that the registers make, by address.

    Attributes:
        source: int, shape (synapses,): seat of a source neuron, counted through the image; or -1 - tag for an FPGA source.
        target: int, same shape: seat of the target neuron.
        type_code: int, same shape.
        multiplicity: int, same shape: CAM entries.
    """

    source: IntArray
    target: IntArray
    type_code: IntArray
    multiplicity: IntArray


def delivered(config: ChipConfig, defects: Defects | None = None) -> Delivered:
    """Follow every destination to its cores and every CAM entry to its source.

    Raises:
        NetworkDoesNotFit: the registers break a rule, so that what they deliver is not one network.
    """
    problems = check(config, defects=defects)
    if problems:
        raise NetworkDoesNotFit(problems, "the register image")
    chip, g = config.chip, config.chip.geometry
    n_cores = len(config.chips) * g.cores
    sender = _senders(config)
    heard = heard_tags(config, defects or Defects()).reshape(n_cores, g.neurons, -1)
    said = heard_tags(config, Defects()).reshape(heard.shape)
    core, neuron, entry = np.nonzero(~np.isin(heard, [*chip.reserved_tags, -1]))
    # An entry that hears another tag than it says was written so that it hears nobody, unless a neuron sends that tag.
    tag = heard[core, neuron, entry]
    real = (tag == said[core, neuron, entry]) | (sender[core, tag] >= 0)
    core, neuron, entry, tag = core[real], neuron[real], entry[real], tag[real]
    source = np.where(sender[core, tag] >= 0, sender[core, tag], -1 - tag)
    code = config.cam["type"].reshape(heard.shape)[core, neuron, entry].astype(np.int64)
    rows, counts = np.unique(np.column_stack([source, core * g.neurons + neuron, code]), axis=0, return_counts=True)
    return Delivered(rows[:, 0], rows[:, 1], rows[:, 2], counts.astype(np.int64))


def _senders(config: ChipConfig) -> IntArray:
    """The neuron whose spikes reach each core under each tag, shape (cores, tags); -1 for none."""
    g = config.chip.geometry
    sender = np.full((len(config.chips) * g.cores, config.chip.tags_per_core), -1, dtype=np.int64)
    index, core, neuron, entry = np.nonzero(config.sram["core_mask"] > 0)
    word = config.sram[index, core, neuron, entry]
    there = config.reached_chips()[index, core, neuron, entry]
    tag = word["virtual_core"].astype(np.int64) * g.neurons + neuron
    seat = (index * g.cores + core) * g.neurons + neuron
    for chip_index, chip_id in enumerate(config.chips):
        for target in range(g.cores):
            mine = (there == chip_id) & ((word["core_mask"] >> target) & 1 == 1)
            sender[chip_index * g.cores + target, tag[mine]] = seat[mine]
    return sender


def network_of(
    config: ChipConfig, mapping: Mapping | None = None, calibration: Calibration | None = None, defects: Defects | None = None
) -> Network:
    """The network that a register image holds.

    Neurons that use the first leak, or have synapses or destinations, become populations: one for each run of neighbours
    on a core with the same leak, with its place. Where the second leak of a core is not the strong one that silences,
    synapses and destinations alone tell which neurons are in use. The tags that are listened to and that no neuron sends
    become the input "fpga".

    Args:
        calibration, defects: as for `map_network`.

    Raises:
        NetworkDoesNotFit: the registers break a rule.
        EmptyNetwork: no neuron is in use.
        InvalidValue: a core's codes stand for no neuron parameters.
    """
    mapping = mapping or load_mapping(config.chip)
    calibration = calibration or load_calibration(config.chip)
    found = delivered(config, (defects or Defects()).merged(calibration.defects))
    populations, population_of, index_of = populations_of(config, mapping, calibration, found)
    tags = np.unique(-1 - found.source[found.source < 0])
    inputs = (Input(name="fpga", size=tags.size, tags=tuple(tags.tolist())),) if tags.size else ()
    connections = _connections(config, found, populations, population_of, index_of, tags)
    return Network(name="read_back", inputs=inputs, populations=tuple(populations), connections=tuple(connections))


def populations_of(
    config: ChipConfig, mapping: Mapping, calibration: Calibration, found: Delivered
) -> tuple[list[Population], IntArray, IntArray]:
    """The neurons of a register image whose synapses are known, see `network_of`.

    Returns:
        The populations, and the index of each seat's population and its place in it.

    Raises:
        EmptyNetwork, InvalidValue: see `network_of`.
    """
    g = config.chip.geometry
    n_cores = len(config.chips) * g.cores
    used = _leaks_of_used_neurons(config, mapping) | (config.sram["core_mask"] > 0).any(axis=3).reshape(n_cores, g.neurons)
    used.reshape(-1)[found.target] = True
    runs, population_of, index_of = _runs(used, config.tau2.reshape(n_cores, g.neurons))
    if not runs:
        raise EmptyNetwork("no neuron is in use", where="the register image", fix="Map a network first.")
    parameters = {}
    populations = []
    for core, first, size, second in runs:
        chip_id, k = config.chips[core // g.cores], core % g.cores
        if (core, second) not in parameters:
            codes = {bias.name: config.bias(chip_id, k, bias.name) for bias in config.chip.biases}
            where = f"chip {chip_id} core {k}"
            parameters[core, second] = parameters_of(config.chip, mapping, calibration, codes, second, where, (chip_id, k))
        place = Place(chip=chip_id, core=k, neuron=first)
        name = f"chip{chip_id}_core{k}_neuron{first}"
        populations.append(Population(name=name, size=size, neuron=parameters[core, second], place=place))
    return populations, population_of, index_of


def _leaks_of_used_neurons(config: ChipConfig, mapping: Mapping) -> BoolArray:
    """Neurons whose leak says that they are in use, shape (cores, neurons): those with the first one.

    On a core where neurons have a second leak other than the strong one that silences, no leak says so.
    """
    tau2 = config.tau2.reshape(-1, config.chip.geometry.neurons)
    second = config.chip.biases[config.chip.bias_index("leak2")].name
    strong = idle_codes(config.chip, mapping)[second]
    silences = [
        config.bias(chip_id, core, second) == strong for chip_id in config.chips for core in range(config.chip.geometry.cores)
    ]
    return ~tau2 & (np.array(silences, dtype=np.bool_) | ~tau2.any(axis=1))[:, None]


def _runs(used: BoolArray, second: BoolArray) -> tuple[list[tuple[int, int, int, bool]], IntArray, IntArray]:
    """Runs of used neighbours with one leak (core, first neuron, size, second leak), and each seat's run and place in it."""
    runs: list[tuple[int, int, int, bool]] = []
    run_of, index_of = np.full(used.size, -1, dtype=np.int64), np.zeros(used.size, dtype=np.int64)
    for core, neuron in np.argwhere(used).tolist():
        leak, seat = bool(second[core, neuron]), core * used.shape[1] + neuron
        if runs and runs[-1][0] == core and runs[-1][1] + runs[-1][2] == neuron and runs[-1][3] == leak:
            runs[-1] = (core, runs[-1][1], runs[-1][2] + 1, leak)
        else:
            runs.append((core, neuron, 1, leak))
        run_of[seat], index_of[seat] = len(runs) - 1, runs[-1][2] - 1
    return runs, run_of, index_of


def _connections(
    config: ChipConfig, found: Delivered, populations: list[Population], population_of: IntArray, index_of: IntArray,
    tags: IntArray,
) -> list[Connection]:  # fmt: skip
    names = {t.code: t.name for t in config.chip.synapse_types}
    from_neuron = found.source >= 0
    group = np.where(from_neuron, population_of[np.maximum(found.source, 0)], -1)
    index = np.where(from_neuron, index_of[np.maximum(found.source, 0)], np.searchsorted(tags, -1 - found.source))
    target = population_of[found.target]
    keys, which = np.unique(np.column_stack([group, target, found.type_code]), axis=0, return_inverse=True)
    connections = []
    for k, (source, to, code) in enumerate(keys.tolist()):
        mine = np.flatnonzero(which.ravel() == k)
        columns = (index[mine], index_of[found.target[mine]], found.multiplicity[mine])
        pairs = list(zip(*(c.tolist() for c in columns), strict=True))
        source_name = populations[source].name if source >= 0 else "fpga"
        connections.append(
            Connection(
                name=f"{source_name}.{populations[to].name}.{names[code]}",
                source=source_name,
                target=populations[to].name,
                synapse=names[code],
                rule=Explicit(pairs=pairs),
            )
        )
    return connections
