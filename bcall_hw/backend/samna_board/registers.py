"""What has to be written to bring a board from the registers it has to the ones that are wanted, through samna."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import BoolArray
from bcall_hw.chip_config import CAM_DTYPE, ChipConfig, Registers, Words
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import FieldOverflow, NetworkDoesNotFit

#: Neuron number of a row of leak choices that means the whole core.
WHOLE_CORE = 0xFFFF


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a whole board.

    Attributes:
        config: registers of all chips, as far as they were written; the chip itself cannot be read.
        copy_cam: the CAM as samna's own copy has it, shape of `config.cam`. samna writes what differs from its copy, not from
            the chip: the two differ after opening.
    """

    config: ChipConfig
    copy_cam: Registers

    @classmethod
    def after_opening(cls, chip: ChipModel) -> Known:
        """After samna has opened the board: CAM and SRAM cleared; in samna's copy CAM entries have another type."""
        config = ChipConfig.after_opening(chip, range(chip.geometry.chips))
        copy = config.cam.copy()
        entry = chip.cam.samna_copy
        copy[...] = (entry.source_core, entry.source_neuron, entry.type)
        biases = config.biases.copy()
        for index, bias in enumerate(chip.biases):  # of samna's copy: the first thing is to write all of them
            code = bias.samna_default
            biases[:, :, index] = (code.coarse, code.fine, 1)
        return cls(config.with_registers(biases=biases), copy)


@dataclass(frozen=True, eq=False)
class Step:
    """One request to the worker: rows of one kind, and the words that they become on the wire.

    Attributes:
        do: "write" (CAM and SRAM), "biases" or "leaks".
        parts: the rows as uint16 arrays, one for each struct of the worker.
        words: `WORD_DTYPE`.
    """

    do: str
    parts: tuple[npt.NDArray[np.uint16], ...]
    words: Words


def check(config: ChipConfig) -> None:
    """Refuse registers that samna would truncate or cannot write, before anything is sent.

    Raises:
        FieldOverflow: a value beyond its field.
        NetworkDoesNotFit: biases with the low range bit; samna writes it high, always.
    """
    low = np.argwhere(config.biases["high"] == 0)
    if low.size:
        names = [bias.name for bias in config.chip.biases]
        fix = "samna always writes it high: set it high."
        raise NetworkDoesNotFit(
            [
                FieldOverflow(f"{names[bias]}: range bit is low", where=f"chip {config.chips[c]} core {core}", used=0, fix=fix)
                for c, core, bias in low.tolist()
            ],
            "configuration",
        )
    config.words()  # packs every field, and refuses what does not fit


def silence(known: Known) -> Iterator[Step]:
    """Force quiet codes into all biases of all cores: those that samna's copy holds already get another code first."""
    config, quiet = known.config, silenced(known).config
    same = config.biases == quiet.biases
    if same.any():
        other = quiet.biases.copy()
        other["fine"][same] ^= 1
        yield _biases(config.with_registers(biases=other), same)
    yield _biases(quiet, np.ones(same.shape, dtype=np.bool_))


def silenced(known: Known) -> Known:
    """What is known after `silence`."""
    config = known.config
    quiet = np.empty_like(config.biases)
    quiet[...] = np.array(config.chip.quiet_codes, dtype=quiet.dtype)
    return replace(known, config=config.with_registers(biases=quiet))


def steps(known: Known, wanted: ChipConfig, leaving: Collection[int] = ()) -> Iterator[Step]:
    """Requests that bring the chips of `wanted` to it, and silence chips that are in use no more.

    CAM and SRAM come first, so that no synapse gets current before its tag.
    """
    new = after(known, wanted, leaving).config
    chip_differs, copy_differs = known.config.cam != new.cam, known.copy_cam != new.cam
    covered = np.zeros(len(new.chips), dtype=bool)
    covered[list(wanted.chips)] = True
    chip_differs[~covered] = copy_differs[~covered] = False
    hidden = chip_differs & ~copy_differs  # samna would drop them as unchanged
    nothing = np.zeros(new.sram.shape, dtype=bool)
    if hidden.any():
        detour = new.cam.copy()
        detour["source_neuron"][hidden] ^= 1
        yield _entries(new.with_registers(cam=detour), hidden, nothing)
    cam, sram = chip_differs | copy_differs, known.config.sram != new.sram
    if cam.any() or sram.any():
        yield _entries(new, cam, sram)
    biases = known.config.biases != new.biases
    if biases.any():
        yield _biases(new, biases)
    leaks = known.config.tau2 != new.tau2
    if leaks.any():
        reset = np.any(known.config.tau2 & ~new.tau2, axis=2)
        yield _leaks(new, reset, new.tau2 & (leaks | reset[:, :, None]))


def rewrite(known: Known, chips: tuple[int, ...]) -> Iterator[Step]:
    """Requests that write every register of some chips again, whatever is known: each entry takes a detour by another content.

    The cores of the whole board are silent meanwhile.
    """
    yield from silence(known)
    config = known.config
    covered = np.zeros(len(config.chips), dtype=np.bool_)
    covered[list(chips)] = True
    everything = {name: np.ones(getattr(config, name).shape, dtype=np.bool_) for name in ("cam", "sram", "biases")}
    for mask in everything.values():
        mask[~covered] = False
    cam, sram = config.cam.copy(), config.sram.copy()
    cam["source_neuron"] ^= 1
    sram["virtual_core"] ^= 1
    yield _entries(config.with_registers(cam=cam, sram=sram), everything["cam"], everything["sram"])
    yield _entries(config, everything["cam"], everything["sram"])
    not_silent = silenced(known).config.biases != config.biases
    if not_silent.any():
        yield _biases(config, not_silent)
    whole = np.zeros(config.tau2.shape[:2], dtype=np.bool_)
    whole[covered] = True
    yield _leaks(config, whole, config.tau2 & whole[:, :, None])


def after(known: Known, wanted: ChipConfig, leaving: Collection[int] = ()) -> Known:
    """What is known after `steps`."""
    config, arrays = known.config, dict[str, Any]()
    for name in ("cam", "sram", "biases", "tau2"):
        old, new = getattr(config, name), getattr(wanted, name)
        array = old.copy()
        array[list(wanted.chips)] = new
        arrays[name] = array
    arrays["biases"][list(leaving)] = silenced(known).config.biases[list(leaving)]
    copy = known.copy_cam.copy()
    copy[list(wanted.chips)] = wanted.cam
    return Known(config.with_registers(**arrays), copy)


def _rows(*columns: npt.NDArray[Any] | int) -> npt.NDArray[np.uint16]:
    return np.ascontiguousarray(np.column_stack(np.broadcast_arrays(*columns)), dtype=np.uint16)


def _entries(config: ChipConfig, cam: BoolArray, sram: BoolArray) -> Step:
    at, to = np.nonzero(cam), np.nonzero(sram)
    synapses, destinations = config.cam[at], config.sram[to]
    cam_rows = _rows(*at, *(synapses[name] for name in CAM_DTYPE.names or ()))
    entry = np.asarray(config.chip.sram.usable, dtype=np.int64)[to[3]]
    fields = ("virtual_core", "sy", "dy", "sx", "dx", "core_mask")
    sram_rows = _rows(*to[:3], entry, *(destinations[name] for name in fields))
    words = np.concatenate([config.words_of("cam", cam), config.words_of("sram", sram)])
    return Step("write", (cam_rows, sram_rows), words)


def _biases(config: ChipConfig, where: BoolArray) -> Step:
    at = np.nonzero(where)
    codes = config.biases[at]
    return Step("biases", (_rows(*at, codes["coarse"], codes["fine"]),), config.words_of("bias", where))


def _leaks(config: ChipConfig, reset: BoolArray, chosen: BoolArray) -> Step:
    """Bring whole cores back to the first leak, then neurons to the second: a single neuron can only be set to the second."""
    cores = np.argwhere(reset)
    rows = np.concatenate([_rows(cores[:, 0], cores[:, 1], WHOLE_CORE, 0), _rows(*np.nonzero(chosen), 1)])
    whole = np.asarray(np.broadcast_to(reset[:, :, None], chosen.shape))
    cleared = config.with_registers(tau2=np.zeros(chosen.shape, dtype=np.bool_))
    words = np.concatenate([cleared.words_of("tau2", whole), config.words_of("tau2", chosen)])
    return Step("leaks", (rows,), words)


def read_copy(body: bytes, known: Known) -> ChipConfig:
    """Samna's own copy as an image of the whole board; leak choices, which it does not hold, are those last written."""
    config, chip = known.config, known.config.chip
    g, flat = chip.geometry, np.frombuffer(body, dtype="<u2")
    n_cam, n_sram = 3 * chip.cam.entries, 6 * chip.sram.entries
    neurons = g.chips * g.cores * g.neurons
    table = flat[: neurons * (n_cam + n_sram)].reshape(g.chips, g.cores, g.neurons, n_cam + n_sram)
    cam = np.zeros(config.cam.shape, dtype=config.cam.dtype)
    for index, name in enumerate(CAM_DTYPE.names or ()):
        cam[name] = table[..., index:n_cam:3]
    sram = np.zeros(config.sram.shape, dtype=config.sram.dtype)
    for index, name in enumerate(("virtual_core", "sy", "dy", "sx", "dx", "core_mask")):
        sram[name] = table[..., n_cam + index :: 6][..., list(chip.sram.usable)]
    codes = flat[neurons * (n_cam + n_sram) :].reshape(g.chips, g.cores, len(chip.biases), 2)
    biases = np.zeros(config.biases.shape, dtype=config.biases.dtype)
    biases["coarse"], biases["fine"], biases["high"] = codes[..., 0], codes[..., 1], 1
    return config.with_registers(cam=cam, sram=sram, biases=biases)
