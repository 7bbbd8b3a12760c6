"""ChipConfig: the frozen register image of one or more chips, and the words that write it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw import h5_files
from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.chip_model import BiasCode, ChipModel, read_chip, write_chip
from bcall_hw.errors import FieldOverflow, InvalidValue

CAM_DTYPE = np.dtype([("source_core", "<u2"), ("source_neuron", "<u2"), ("type", "<u2")])
SRAM_DTYPE = np.dtype([(f, "<u2") for f in ("virtual_core", "sy", "dy", "sx", "dx", "core_mask")])
BIAS_DTYPE = np.dtype([("coarse", "<u2"), ("fine", "<u2"), ("high", "<u2")])
WORD_DTYPE = np.dtype([("kind", "u1"), ("chip", "u1"), ("word", "<u4")])
KINDS = ("cam", "sram", "bias", "tau2")
_KIND, _VERSION = "chip_config", 1

Registers = npt.NDArray[np.void]
Words = npt.NDArray[np.void]


@dataclass(frozen=True, eq=False)
class ChipConfig:
    """Every register of some chips of a board; arrays are read-only, and each stage makes a new value.

    Attributes:
        chip: the chip model.
        chips: ids of the chips on the board that this image covers, ascending.
        cam: `CAM_DTYPE`, shape (chips, cores, neurons, CAM entries).
        sram: `SRAM_DTYPE`, shape (chips, cores, neurons, usable SRAM entries). The monitor's entry has no place
            here: it is never written.
        biases: `BIAS_DTYPE`, shape (chips, cores, biases in the model's order).
        tau2: bool, shape (chips, cores, neurons): neuron uses the second leak bias.
    """

    chip: ChipModel
    chips: tuple[int, ...]
    cam: Registers
    sram: Registers
    biases: Registers
    tau2: BoolArray

    def __post_init__(self) -> None:
        g, n_chips = self.chip.geometry, len(self.chips)
        self.check_chips(self.chip, self.chips)
        core = (n_chips, g.cores)
        expected = {
            "cam": ((*core, g.neurons, self.chip.cam.entries), CAM_DTYPE),
            "sram": ((*core, g.neurons, len(self.chip.sram.usable)), SRAM_DTYPE),
            "biases": ((*core, len(self.chip.biases)), BIAS_DTYPE),
            "tau2": ((*core, g.neurons), np.dtype(bool)),
        }
        for name, (shape, dtype) in expected.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                used, limit = (array.shape, str(array.dtype)), (shape, str(dtype))
                raise InvalidValue(
                    "register array has the wrong shape or type", where=f"ChipConfig.{name}", used=used, limit=limit
                )
            array.setflags(write=False)

    @staticmethod
    def check_chips(chip: ChipModel, chips: tuple[int, ...]) -> None:
        """Refuse ids that are no chips of the board, or not ascending.

        Raises:
            InvalidValue: with the ids.
        """
        top = chip.geometry.chips
        if not all(type(number) is int for number in chips):
            raise InvalidValue("chip ids are whole numbers", where="ChipConfig", used=chips)
        if not chips or sorted(set(chips)) != list(chips) or not 0 <= chips[0] <= chips[-1] < top:
            allowed = f"0 to {top - 1}, ascending"
            raise InvalidValue("chip ids are wrong", where="ChipConfig", used=chips, limit=allowed)

    @classmethod
    def after_opening(cls, chip: ChipModel, chips: Sequence[int] = (0,)) -> ChipConfig:
        """The registers as opening the board leaves them: CAM and SRAM cleared, the chip's own default biases."""
        g, n_chips = chip.geometry, len(chips)
        cam = np.zeros((n_chips, g.cores, g.neurons, chip.cam.entries), dtype=CAM_DTYPE)
        cleared = chip.cam.cleared
        cam[...] = (cleared.source_core, cleared.source_neuron, cleared.type)
        biases = np.zeros((n_chips, g.cores, len(chip.biases)), dtype=BIAS_DTYPE)
        for index, bias in enumerate(chip.biases):
            code = bias.chip_after_open
            biases[:, :, index] = (code.coarse, code.fine, int(code.high))
        sram = np.zeros((n_chips, g.cores, g.neurons, len(chip.sram.usable)), dtype=SRAM_DTYPE)
        return cls(chip, tuple(chips), cam, sram, biases, np.zeros((n_chips, g.cores, g.neurons), dtype=bool))

    def with_registers(
        self,
        cam: Registers | None = None,
        sram: Registers | None = None,
        biases: Registers | None = None,
        tau2: BoolArray | None = None,
    ) -> ChipConfig:
        """A copy with some register arrays replaced; they become read-only."""
        given: dict[str, Any] = {"cam": cam, "sram": sram, "biases": biases, "tau2": tau2}
        return replace(self, **{name: array for name, array in given.items() if array is not None})

    def bias(self, chip: int, core: int, name_or_role: str) -> BiasCode:
        """The code of one bias of one core.

        Raises:
            UnknownBias: no such bias.
            InvalidValue: no such chip or core in this image.
        """
        if chip not in self.chips or not 0 <= core < self.chip.geometry.cores:
            raise InvalidValue("no such core in this image", where="ChipConfig", used=(chip, core), limit=f"chips {self.chips}")
        coarse, fine, high = self.biases[self.chips.index(chip), core, self.chip.bias_index(name_or_role)]
        return BiasCode(coarse=int(coarse), fine=int(fine), high=bool(high))

    def reached_chips(self) -> IntArray:
        """Chip that each SRAM entry leads to, shape of `sram`: -1 for one without a core, or whose hops leave the board."""
        g, sram = self.chip.geometry, self.sram
        here = np.asarray(self.chips, dtype=np.int64).reshape(-1, 1, 1, 1)
        column = here % g.chip_columns + np.where(sram["sx"] == 1, -1, 1) * sram["dx"].astype(np.int64)
        row = here // g.chip_columns + np.where(sram["sy"] == 1, 1, -1) * sram["dy"].astype(np.int64)
        there = row * g.chip_columns + column
        on_board = (column >= 0) & (column < g.chip_columns) & (row >= 0) & (there < g.chips)
        return np.where(on_board & (sram["core_mask"] > 0), there, -1).astype(np.int64)

    # Words -----------------------------------------------------------------------------------------------------------

    def words(self) -> Words:
        """All words of the image (`WORD_DTYPE`): CAM, SRAM without the monitor entry, biases, TAU2 bits."""
        return np.concatenate([self.words_of(kind, np.ones(self._array(kind).shape, dtype=bool)) for kind in KINDS])

    def diff(self, new: ChipConfig) -> Words:
        """The words that turn this image into `new`: CAM first, so that no synapse gets current before it has its tag.

        Raises:
            InvalidValue: the images cover other chips.
        """
        if new.chip != self.chip:
            used, limit = new.chip.name, self.chip.name
            raise InvalidValue("images of different chip models", where="ChipConfig.diff", used=used, limit=limit)
        if new.chips != self.chips:
            raise InvalidValue("images of different chips", where="ChipConfig.diff", used=new.chips, limit=self.chips)
        changed = []
        for kind in KINDS:
            old_array, new_array = self._array(kind), new._array(kind)
            if old_array is not new_array:
                changed.append(new.words_of(kind, old_array != new_array))
        return np.concatenate(changed) if changed else np.zeros(0, dtype=WORD_DTYPE)

    @classmethod
    def from_words(cls, chip: ChipModel, chips: Sequence[int], words: Words) -> ChipConfig:
        """The image that `words` leave when written, in order, to freshly opened chips.

        Raises:
            FieldOverflow: something is not a word of this chip, or is for a chip or bias that is not there.
        """
        return cls.after_opening(chip, chips).written(words)

    def written(self, words: Words) -> ChipConfig:
        """The image after `words` are written, in order.

        Raises:
            FieldOverflow: something is not a word of this chip, or is for a chip or bias that is not there.
        """
        highest = int(words["kind"].max(initial=0))
        if highest >= len(KINDS):
            raise FieldOverflow("no such kind of word", where="ChipConfig", used=highest, limit=len(KINDS) - 1)
        arrays: dict[str, Any] = {}
        for kind_code, kind in enumerate(KINDS):
            mine = words[words["kind"] == kind_code]
            if not mine.size:
                continue
            unknown = np.setdiff1d(mine["chip"], self.chips)
            if unknown.size:
                raise FieldOverflow("word for a chip outside the image", where=kind, used=int(unknown[0]), limit=self.chips)
            fields = self.chip.words[kind].unpack(mine["word"])  # type: ignore[index]
            array = arrays["biases" if kind == "bias" else kind] = self._array(kind).copy()
            _write(array, kind, self.chip, np.searchsorted(np.asarray(self.chips), mine["chip"]), fields)
        return self.with_registers(**arrays)

    def of_chips(self, chips: Sequence[int]) -> ChipConfig:
        """The image of some of its chips.

        Raises:
            InvalidValue: a chip that is not in this image.
        """
        missing = sorted(set(chips) - set(self.chips))
        if missing:
            raise InvalidValue("no such chip in this image", where="ChipConfig", used=missing[0], limit=self.chips)
        if tuple(chips) == self.chips:
            return self
        rows = np.searchsorted(self.chips, chips)
        return ChipConfig(self.chip, tuple(chips), self.cam[rows], self.sram[rows], self.biases[rows], self.tau2[rows])

    def _array(self, kind: str) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = getattr(self, "biases" if kind == "bias" else kind)
        return array

    def words_of(self, kind: str, where: BoolArray) -> Words:
        """The words of one kind of register (of `KINDS`) where the mask, of that register's shape, is set."""
        array, index = self._array(kind), np.nonzero(where)
        values = array[index]
        fields: dict[str, Any] = {name: values[name] for name in values.dtype.names or ()}
        fields |= {"core": index[1]}
        if kind == "bias":
            core = fields.pop("core")
            addresses = np.array([b.addresses for b in self.chip.biases], dtype=np.int64)
            n_type = np.array([b.transistor == "N" for b in self.chip.biases], dtype=np.int64)
            fields |= {"address": addresses[index[2], core], "n_type": n_type[index[2]]}
        else:
            fields |= {"neuron": index[2]}
        if kind == "cam":
            fields |= {"entry": index[3]}
        if kind == "sram":
            fields |= {"entry": np.asarray(self.chip.sram.usable)[index[3]]}
        if kind == "tau2":
            fields |= {"chosen": values}
        words = np.zeros(index[0].size, dtype=WORD_DTYPE)
        words["kind"] = KINDS.index(kind)
        words["chip"] = np.asarray(self.chips)[index[0]]
        words["word"] = self.chip.words[kind].pack(**fields)  # type: ignore[index]
        return words

    # Hashes and files ------------------------------------------------------------------------------------------------

    @property
    def sha256(self) -> str:
        """Hash of all words."""
        return hashlib.sha256(self.words().tobytes()).hexdigest()

    @property
    def cam_sha256(self) -> str:
        """Hash of the CAM words alone."""
        return hashlib.sha256(self.words_of("cam", np.ones(self.cam.shape, dtype=bool)).tobytes()).hexdigest()

    def __repr__(self) -> str:
        return f"ChipConfig({self.chip.name}, chips {self.chips}, sha256 {self.sha256[:12]})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChipConfig):
            return NotImplemented
        same = self.chip == other.chip and self.chips == other.chips
        return same and all(np.array_equal(self._array(k), other._array(k)) for k in KINDS)

    __hash__ = None  # type: ignore[assignment]

    def save(self, path: Path | str) -> None:
        """Write the image as HDF5: the words, which chip model they are for, and their hash."""
        path = Path(path)
        with h5_files.h5_written_whole(path, _KIND, _VERSION) as file:
            write_chip(file.attrs, self.chip)
            file.attrs["chips"] = list(self.chips)
            file.create_dataset("words", data=self.words(), compression="gzip")

    @classmethod
    def load(cls, path: Path | str) -> ChipConfig:
        """Read an image.

        Raises:
            FileProblem, CorruptFile, ForeignFile: the file is missing, damaged or something else.
        """
        path = Path(path)
        with h5_files.h5_read(path, _KIND, _VERSION) as file:
            chip = read_chip(file.attrs, path)
            chips = [int(c) for c in file.attrs["chips"]]
            try:
                return cls.from_words(chip, chips, h5_files.array_of(file, "words", WORD_DTYPE))
            except (FieldOverflow, InvalidValue) as problem:
                raise ValueError(str(problem)) from None


def words_by_kind(words: Words) -> dict[str, int]:
    """How many words of each kind."""
    counts = np.bincount(words["kind"], minlength=len(KINDS))
    return {kind: int(count) for kind, count in zip(KINDS, counts, strict=True)}


def _write(array: npt.NDArray[Any], kind: str, chip: ChipModel, chip_index: IntArray, fields: dict[str, IntArray]) -> None:
    of_neuron = chip.cam.entries if kind == "cam" else chip.sram.entries
    tops = {"core": chip.geometry.cores, "neuron": chip.geometry.neurons, "entry": of_neuron}
    for name, top in tops.items():  # fields can be wider than the chip
        if name in fields and int(fields[name].max(initial=0)) >= top:
            used = int(fields[name].max())
            raise FieldOverflow(f"no such {name} on this chip", where=f"{kind} word", used=used, limit=top - 1)
    if kind == "tau2":
        array[chip_index, fields["core"], fields["neuron"]] = fields["chosen"].astype(bool)
        return
    if kind == "bias":
        by_address = {a: (core, i) for i, b in enumerate(chip.biases) for core, a in enumerate(b.addresses)}
        unknown = sorted(set(fields["address"].tolist()) - by_address.keys())
        if unknown:
            raise FieldOverflow("no bias has this address", where="bias word", used=unknown[0])
        core_and_bias = np.array([by_address[a] for a in fields["address"].tolist()])
        expected = np.array([chip.biases[i].transistor == "N" for i in core_and_bias[:, 1]])
        if np.any(expected != fields["n_type"].astype(bool)):
            raise FieldOverflow("transistor type of the word differs from the bias", where="bias word")
        index: tuple[IntArray, ...] = (chip_index, core_and_bias[:, 0], core_and_bias[:, 1])
    elif kind == "cam":
        index = (chip_index, fields["core"], fields["neuron"], fields["entry"])
    else:
        entries = list(chip.sram.usable)
        if not np.all(np.isin(fields["entry"], entries)):
            raise FieldOverflow("word writes the monitor's SRAM entry", where="sram word", used=chip.sram.monitor_entry)
        index = (chip_index, fields["core"], fields["neuron"], np.searchsorted(entries, fields["entry"]))
    values = np.zeros(fields[(array.dtype.names or ())[0]].shape, dtype=array.dtype)
    for name in array.dtype.names or ():
        values[name] = fields[name]
    array[index] = values
