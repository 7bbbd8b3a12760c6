"""What a chip is: schema and loader of `chip_models/<name>.toml`.

Nothing here knows a particular chip. Every number comes from the file, and every table of the file names its source.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, MutableMapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tomlkit
from pydantic import Field
from tomlkit.exceptions import TOMLKitError

from bcall_hw import files
from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.errors import CorruptFile, ForeignFile, UnknownBias, UnknownChip, UnknownName
from bcall_hw.records import Record, data_folder
from bcall_hw.word_layout import WordLayout

#: The chip that is meant where none is named.
DEFAULT_CHIP = "dynapse1"

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Code = Annotated[int, Field(ge=0)]
#: The four synapse circuits of a neuron that every chip of this family has.
SynapseType = Literal["AMPA", "NMDA", "GABA_A", "GABA_B"]


class Geometry(Record):
    """How many chips, cores and neurons, and where the chips lie."""

    source: str
    chips: Count
    chip_columns: Count
    cores: Count
    neurons: Count

    def hops(self, from_chip: int, to_chip: int) -> tuple[int, int]:
        """Chip steps (east positive, north positive) from one chip to another."""
        columns = self.chip_columns
        east = to_chip % columns - from_chip % columns
        south = to_chip // columns - from_chip // columns
        return east, -south


class CamEntry(Record):
    """One CAM entry: the tag it listens to and its synapse type code."""

    source_core: Code
    source_neuron: Code
    type: Code


class CamLimits(Record):
    """CAM entries of a neuron, what a cleared one holds, and what samna's own copy says of it."""

    source: str
    entries: Count
    cleared: CamEntry
    samna_copy: CamEntry


class SramLimits(Record):
    """SRAM entries (destinations) of a neuron and which one is the monitor."""

    source: str
    entries: Count
    monitor_entry: Code
    virtual_cores: Count
    max_hops: Count
    warned_links: tuple[tuple[int, int], ...]

    @property
    def usable(self) -> tuple[int, ...]:
        """The entries a network may use, lowest first."""
        return tuple(e for e in range(self.entries) if e != self.monitor_entry)


class TagLimits(Record):
    """Tags that no source may have."""

    source: str
    reserved: tuple[tuple[int, int], ...]


class StimulusLimits(Record):
    """The FPGA's stimulus list."""

    source: str
    sources: Count
    clock_hz: Positive
    max_isi_base: Count
    max_isi: Count
    max_events: Count


class PoissonLimits(Record):
    """The FPGA's Poisson sources."""

    source: str
    step_hz: Positive
    max_hz: Positive
    target_chips: Count
    core_mask: Code


class TimestampLimits(Record):
    """Time stamps of the spikes that the board reports."""

    source: str
    unit_us: Count
    max_us: Count


class BiasCode(Record):
    """A coarse/fine code of a bias; `high` is the bias generator's range bit."""

    coarse: Code
    fine: Code
    high: bool = True


Address = tuple[Code, Code]


class GeneratorAddresses(Record):
    """The stimulus generator's registers, (module, parameter) each; `count` holds events - 1."""

    run: Address
    variable_isi: Address
    base_address: Address
    count: Address
    isi: Address
    isi_base: Address
    repeat: Address


class PoissonAddresses(Record):
    """The Poisson generator's registers, (module, parameter) each."""

    run: Address
    chip: Address


class ProbeBias(Record):
    """A bias whose code matters to no neuron: writing it tells whether the board still takes words."""

    source: str
    bias: str


class QuietCodes(Record):
    """Codes of the two leaks that keep a core quiet, all its other biases being zero."""

    source: str
    leak1: BiasCode
    leak2: BiasCode


class DeviceModel(Record):
    """How the host's device calls address the board's controller: (module, parameter), or a module alone."""

    source: str
    samna_name: str
    timestamp_reset: Address
    chip_select: Address
    chip_word: Address
    clear_cam: Code
    default_sram: Code
    monitor: Code
    tau2_set: Code
    tau1_reset: Code
    tau2_reset: Code
    probe: ProbeBias
    quiet: QuietCodes
    generator: GeneratorAddresses
    poisson: PoissonAddresses


class SynapseTypeModel(Record):
    """One synapse circuit of a neuron: name, code in a CAM word, and what its current does to the soma."""

    source: str
    name: str
    code: Code
    effect: Literal["excitatory", "gated", "shunting", "subtractive"]


class BiasModel(Record):
    """One of a core's biases: its name, transistor, circuit, role and register address in each core."""

    source: str
    name: str
    transistor: Literal["N", "P"]
    circuit: str
    role: str
    meaning: str
    addresses: tuple[int, ...]
    samna_default: BiasCode
    chip_after_open: BiasCode


class CurrentTableFile(Record):
    """Where the coarse/fine current table lies, its unit, and the dark current below which no bias reaches."""

    source: str
    file: str
    unit_a: Positive
    coarse_values: Count
    fine_values: Count
    dark_current_a: Positive


class Constant(Record):
    """One circuit constant in SI units."""

    value: Positive
    source: str


class Constants(Record):
    """Circuit constants shared by all circuits (V, dimensionless, V, A, A)."""

    thermal_voltage_v: Constant
    kappa: Constant
    inverter_threshold_v: Constant
    spike_threshold_a: Constant
    leak_current_a: Constant


class Capacitances(Record):
    """Nominal capacitance of each circuit (F)."""

    source: str
    soma: Positive
    AMPA: Positive
    NMDA: Positive
    GABA_A: Positive
    GABA_B: Positive
    AHP: Positive
    pulse: Positive
    refractory: Positive


class ChipModel(Record):
    """A chip as data. Load one with `load_chip`."""

    schema_version: Literal[1]
    name: str
    title: str
    sources: dict[str, str]
    geometry: Geometry
    cam: CamLimits
    sram: SramLimits
    tags: TagLimits
    stimulus: StimulusLimits
    poisson: PoissonLimits
    timestamps: TimestampLimits
    device: DeviceModel
    synapse_types: tuple[SynapseTypeModel, ...]
    words: dict[Literal["cam", "sram", "bias", "tau2", "stimulus", "spike"], WordLayout]
    current_table: CurrentTableFile
    constants: Constants
    capacitances_f: Capacitances
    biases: tuple[BiasModel, ...]
    currents: tuple[tuple[int, ...], ...]
    fingerprint: str

    @cached_property
    def current_a(self) -> FloatArray:
        """Current of each code, shape (coarse, fine), in ampere."""
        return np.asarray(self.currents, dtype=np.float64) * self.current_table.unit_a

    @cached_property
    def sorted_codes(self) -> tuple[FloatArray, IntArray]:
        """Distinct currents above the dark current (A), ascending, and their codes, shape (n, 2): coarse, fine.

        Of codes with equal currents the one with the lower coarse value is kept.
        """
        current, first = np.unique(self.current_a.ravel(), return_index=True)
        usable = current > self.current_table.dark_current_a
        codes = np.stack(np.unravel_index(first, self.current_a.shape), axis=1)
        return current[usable], codes[usable].astype(np.int64)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChipModel) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @cached_property
    def quiet_codes(self) -> list[tuple[int, int, int]]:
        """(coarse, fine, high) of each bias that keep a core quiet, in the model's order."""
        leaks = {"leak1": self.device.quiet.leak1, "leak2": self.device.quiet.leak2}
        codes = [leaks.get(bias.role, BiasCode(coarse=0, fine=0)) for bias in self.biases]
        return [(code.coarse, code.fine, int(code.high)) for code in codes]

    def bias_index(self, name_or_role: str) -> int:
        """Position of a bias in the bias arrays, by name or by role.

        Raises:
            UnknownBias: with the known names.
        """
        for index, bias in enumerate(self.biases):
            if name_or_role in (bias.name, bias.role):
                return index
        known = ", ".join(bias.name for bias in self.biases)
        raise UnknownBias("no such bias on this chip", where=self.name, used=name_or_role, fix=f"Known: {known}")

    def synapse_type(self, name: str) -> SynapseTypeModel:
        """A synapse type by name.

        Raises:
            UnknownName: with the known names.
        """
        for known in self.synapse_types:
            if known.name == name:
                return known
        names = ", ".join(t.name for t in self.synapse_types)
        raise UnknownName("no such synapse type on this chip", where=self.name, used=name, fix=f"Known: {names}")

    @property
    def tags_per_core(self) -> int:
        """Different tags that one target core can tell apart, reserved ones included."""
        return self.sram.virtual_cores * self.geometry.neurons

    @cached_property
    def reserved_tags(self) -> frozenset[int]:
        """Reserved tags as one number each (virtual core * neurons per core + neuron)."""
        return frozenset(core * self.geometry.neurons + neuron for core, neuron in self.tags.reserved)

    @property
    def parked_tag(self) -> int:
        """What a cleared or parked CAM entry listens to: a reserved tag."""
        return self.cam.cleared.source_core * self.geometry.neurons + self.cam.cleared.source_neuron

    def tag_name(self, tag: int) -> str:
        """A tag in words."""
        core, neuron = divmod(tag, self.geometry.neurons)
        return f"(core {core}, neuron {neuron})"


#: Bias roles that the circuits behind every chip model of this family have: see `circuits` and the emulator.
_ROLES = {
    *("leak1", "leak2", "gain", "refractory", "dc", "pulse_width", "nmda_gate"),
    *("ahp_tau", "ahp_gain", "ahp_weight", "ahp_enable"),
    *(f"{circuit}_{part}" for circuit in ("AMPA", "NMDA", "GABA_A", "GABA_B") for part in ("tau", "gain", "weight")),
}


def known_chips() -> list[str]:
    """Names of the chip models that are shipped."""
    return sorted(path.stem for path in data_folder("chip_models").glob("*.toml"))


@lru_cache(maxsize=8)
def load_chip(name: str) -> ChipModel:
    """The chip model called `name`, or the one in the file `name` if it ends in `.toml`.

    Raises:
        UnknownChip: no such model.
        CorruptFile: the file is not a chip model.
        InvalidValue: a value in it is not allowed.
    """
    path = Path(name) if name.endswith(".toml") else data_folder("chip_models") / f"{name}.toml"
    if not files.is_file(path):
        raise UnknownChip("no such chip model", used=name, fix=f"Known: {', '.join(known_chips())}")
    text = path.read_bytes()
    try:
        values = tomlkit.parse(text.decode()).unwrap()
        table = (path.parent / values["current_table"]["file"]).read_bytes()
        rows = list(csv.reader(table.decode().splitlines()))[1:]
        by_coarse = tuple(zip(*[[int(cell) for cell in row[1:]] for row in rows], strict=True))
    except (TOMLKitError, ValueError, KeyError, TypeError, OSError) as problem:
        raise CorruptFile("not a readable chip model", where=str(path), used=str(problem)) from None
    digest = hashlib.sha256(json.dumps([values, by_coarse], sort_keys=True).encode()).hexdigest()
    chip = ChipModel(**values, currents=by_coarse, fingerprint=digest)
    _check_consistency(chip, path)
    return chip


def write_chip(attributes: MutableMapping[str, Any], chip: ChipModel) -> None:
    """Note in a file's attributes which chip model its content is for."""
    attributes["chip"], attributes["chip_fingerprint"] = chip.name, chip.fingerprint


def read_chip(attributes: Mapping[str, Any], path: Path) -> ChipModel:
    """The chip model that a file's content is for.

    Raises:
        ForeignFile: no such chip here, or the model has changed since.
    """
    name = str(attributes["chip"])
    if name not in known_chips():
        limit = ", ".join(known_chips())
        raise ForeignFile("is for a chip that is not known here", where=str(path), used=name, limit=limit)
    chip = load_chip(name)
    if attributes["chip_fingerprint"] != chip.fingerprint:
        raise ForeignFile("was made with another version of the chip model", where=str(path), used=name, fix="Make it again.")
    return chip


def _check_consistency(chip: ChipModel, path: Path) -> None:
    table, where = chip.current_table, str(path)
    shape = (len(chip.currents), {len(row) for row in chip.currents})
    if shape != (table.coarse_values, {table.fine_values}):
        raise CorruptFile("current table has the wrong shape", where=where, used=shape)
    names = [bias.name for bias in chip.biases] + [bias.role for bias in chip.biases]
    if len(set(names)) != len(names):
        raise CorruptFile("a bias name or role appears twice", where=where)
    for bias in chip.biases:
        if len(bias.addresses) != chip.geometry.cores:
            raise CorruptFile("a bias needs one address per core", where=f"{where}: {bias.name}")
    for bias in chip.biases:
        for code in (bias.samna_default, bias.chip_after_open):
            if code.coarse >= table.coarse_values or code.fine >= table.fine_values:
                raise CorruptFile("a default code lies outside the current table", where=f"{where}: {bias.name}", used=code)
    missing_roles = sorted(_ROLES - {bias.role for bias in chip.biases})
    if missing_roles:
        raise CorruptFile("no bias has this role", where=where, used=missing_roles[0], limit=sorted(_ROLES))
    effects = [synapse.effect for synapse in chip.synapse_types]
    if sorted(effects) != ["excitatory", "gated", "shunting", "subtractive"]:
        raise CorruptFile("each effect needs exactly one synapse type", where=where, used=effects)
    for word, field, largest in _largest_fields(chip):
        width = chip.words[word].fields[field].width  # type: ignore[index]
        if largest >= 1 << width:
            fix = "Geometry, limits and word layouts belong together."
            raise CorruptFile(
                "field is too narrow", where=f"{where}: words.{word}.{field}", used=largest, limit=(1 << width) - 1, fix=fix
            )
    if chip.parked_tag not in chip.reserved_tags:
        parked, fix = chip.tag_name(chip.parked_tag), "Reserve it: every cleared CAM entry listens to it."
        raise CorruptFile("the tag of cleared CAM entries is not reserved", where=where, used=parked, fix=fix)
    if chip.poisson.target_chips != 1:
        chips = chip.poisson.target_chips
        raise CorruptFile("Poisson sources with several target chips are not supported", where=where, used=chips, limit=1)
    if chip.stimulus.sources > chip.tags_per_core:
        used, limit = chip.stimulus.sources, chip.tags_per_core
        raise CorruptFile("more FPGA sources than tags (virtual cores x neurons)", where=where, used=used, limit=limit)
    ticks_in_10_us = chip.stimulus.clock_hz * 1e-5
    if abs(ticks_in_10_us - round(ticks_in_10_us)) > 1e-9 * ticks_in_10_us:
        fix = "Emulated time steps are multiples of 10 us."
        clock = f"{chip.stimulus.clock_hz} Hz"
        raise CorruptFile("stimulus clock has no whole number of ticks in 10 us", where=where, used=clock, fix=fix)
    named = [value for name, value in _sources(chip.model_dump()) if name == "source"]
    missing = sorted(set(named) - chip.sources.keys())
    if missing:
        raise CorruptFile("a source is named but not listed in [sources]", where=where, used=missing)


def _largest_fields(chip: ChipModel) -> list[tuple[str, str, int]]:
    """The largest value that geometry and limits put into each field of each word."""
    g, largest_tag = chip.geometry, chip.sram.virtual_cores - 1
    addresses = max(a for bias in chip.biases for a in bias.addresses)
    return [
        ("cam", "source_core", largest_tag), ("cam", "source_neuron", g.neurons - 1), ("cam", "core", g.cores - 1),
        ("cam", "neuron", g.neurons - 1), ("cam", "entry", chip.cam.entries - 1),
        ("cam", "type", max(t.code for t in chip.synapse_types)),
        ("sram", "virtual_core", largest_tag), ("sram", "dx", chip.sram.max_hops), ("sram", "dy", chip.sram.max_hops),
        ("sram", "core_mask", 2**g.cores - 1), ("sram", "core", g.cores - 1), ("sram", "neuron", g.neurons - 1),
        ("sram", "entry", chip.sram.entries - 1),
        ("bias", "address", addresses), ("bias", "coarse", chip.current_table.coarse_values - 1),
        ("bias", "fine", chip.current_table.fine_values - 1),
        ("tau2", "core", g.cores - 1), ("tau2", "neuron", g.neurons - 1),
        ("stimulus", "chip", g.chips - 1), ("stimulus", "core_mask", 2**g.cores - 1),
        ("stimulus", "source_core", (chip.stimulus.sources - 1) // g.neurons), ("stimulus", "source_neuron", g.neurons - 1),
    ]  # fmt: skip


def _sources(value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        here = [("source", v) for k, v in value.items() if k == "source"]
        return here + [s for v in value.values() for s in _sources(v)]
    if isinstance(value, list | tuple) and not (value and isinstance(value[0], int)):
        return [s for v in value for s in _sources(v)]
    return []
