"""The vendor's own binaries as test oracles: where the real samna lies, and the word generators of its bundled libcaer.

Nothing here imports samna: the loader that later versions put on PyPI installs packages when it is imported.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bcall_hw.chip_model import ChipModel

VERSION = "0.7.1.0"
HOW_TO_GET = f"the contract tests need the real samna {VERSION}: Linux x86-64, CPython 3.10 and `pip install samna=={VERSION}`"
LIBRARIES = "samna.libs"
# libcaer finds its bundled neighbours only from one working directory, so they are loaded first, each before what needs it.
NEEDED_BY_LIBCAER = ("libz", "libbz2", "liblzma", "libelf", "libdw", "libattr", "libcap", "libudev", "libusb")

IntArray = npt.NDArray[np.int64]


class MissingBinary(Exception):
    """There is no real samna of the pinned version here."""


class BiasStruct(ctypes.Structure):
    """libcaer's `struct caer_bias_dynapse`."""

    _fields_ = [
        ("address", ctypes.c_uint8),
        ("coarse", ctypes.c_uint8),
        ("fine", ctypes.c_uint8),
        ("enabled", ctypes.c_bool),
        ("n_type", ctypes.c_bool),
        ("normal", ctypes.c_bool),
        ("high", ctypes.c_bool),
    ]


def samna_folder() -> Path:
    """The folder of the real samna, found without importing it.

    Raises:
        MissingBinary: with what was found instead.
    """
    spec = PathFinder.find_spec("samna")  # looks at the disk alone, whatever stands in sys.modules
    if spec is None or spec.origin is None:
        raise MissingBinary("no samna is installed")
    folder = Path(spec.origin).parent
    if not any(folder.glob("samna.*.so")):
        raise MissingBinary("the samna that is installed is a loader without the compiled module")
    version = importlib.metadata.version("samna")
    if version != VERSION:
        raise MissingBinary(f"samna {version} is installed")
    if not (folder.parent / LIBRARIES).is_dir():
        raise MissingBinary("the samna that is installed is not the Linux wheel: its bundled libraries are not there")
    return folder


class Libcaer:
    """The word generators of the libcaer inside the samna wheel, one call per word."""

    def __init__(self) -> None:
        libraries = samna_folder().parent / LIBRARIES
        for name in NEEDED_BY_LIBCAER:
            ctypes.CDLL(str(_only(libraries, name)))
        library = ctypes.CDLL(str(_only(libraries, "libcaer")))
        u8, u16, flag = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_bool
        self._cam = library.caerDynapseGenerateCamBits
        self._cam.argtypes = [u16, u16, u8, u8]  # input neuron, own neuron, CAM entry, synapse type
        self._sram = library.caerDynapseGenerateSramBits
        self._sram.argtypes = [u16, u8, u8, flag, u8, flag, u8, u8]  # neuron, entry, virtual core, sx, dx, sy, dy, cores
        self._bias = library.caerBiasDynapseGenerate
        self._bias.argtypes = [BiasStruct]
        for function in (self._cam, self._sram, self._bias):
            function.restype = ctypes.c_uint32

    def cam_words(self, chip: ChipModel, fields: dict[str, IntArray]) -> IntArray:
        """CAM words from arrays of the layout's field values."""
        f, neurons = fields, chip.geometry.neurons
        source = f["source_core"] * neurons + f["source_neuron"]
        own = f["core"] * neurons + f["neuron"]
        return _called(self._cam, zip(*_lists(source, own, f["entry"], f["type"]), strict=True))

    def sram_words(self, chip: ChipModel, fields: dict[str, IntArray]) -> IntArray:
        """SRAM words from arrays of the layout's field values."""
        f = fields
        own = f["core"] * chip.geometry.neurons + f["neuron"]
        columns = _lists(own, f["entry"], f["virtual_core"], f["sx"], f["dx"], f["sy"], f["dy"], f["core_mask"])
        return _called(self._sram, zip(*columns, strict=True))

    def bias_words(self, chip: ChipModel, fields: dict[str, IntArray]) -> IntArray:
        """Bias words from arrays of the layout's field values; libcaer counts coarse values down, the layout up."""
        f, top = fields, chip.current_table.coarse_values - 1
        rows = zip(*_lists(f["address"], top - f["coarse"], f["fine"], f["n_type"], f["high"]), strict=True)
        structs = ((BiasStruct(a, c, fine, True, bool(n), True, bool(high)),) for a, c, fine, n, high in rows)
        return _called(self._bias, structs)


def _only(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"{name}[-.]*"))
    if len(found) != 1:
        raise MissingBinary(f"expected one {name} in {folder.name}, found {[path.name for path in found]}")
    return found[0]


def _lists(*columns: IntArray) -> list[list[int]]:
    return [column.tolist() for column in columns]


def _called(function: ctypes._NamedFuncPointer, rows: Iterable[tuple[object, ...]]) -> IntArray:
    return np.array([function(*row) for row in rows], dtype=np.int64)
