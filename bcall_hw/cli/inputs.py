"""What the commands take from files and options: networks, registers, boards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bcall_hw.chip_model import DEFAULT_CHIP, load_chip
from bcall_hw.errors import FileProblem, InvalidValue
from bcall_hw.files import check_folder_of

if TYPE_CHECKING:
    from bcall_hw.backend import Backend
    from bcall_hw.backend.emulator.profile import BoardProfile
    from bcall_hw.chip_config import ChipConfig
    from bcall_hw.defects import Defects
    from bcall_hw.mapper import MapOptions, MappedNetwork
    from bcall_hw.mapper.options import FanInPolicy

DEFAULT_MISMATCH_CV = 0.2
#: Addresses of backends whose board is emulated.
EMULATED = ("emulator", "samna:virtual")


def refuse_overwriting(out: Path | None, *inputs: Path) -> None:
    """A result must not take the place of what it is made from."""
    if out is not None and (out == Path() or out.suffix != ".h5" or any(out.resolve() == given.resolve() for given in inputs)):
        raise FileProblem("the result needs an .h5 file of its own", where="--out", used=str(out)[:200])
    if out is not None:
        check_folder_of(out)


def mapped_network(
    path: Path,
    chip: str,
    chips: str | None = None,
    options: MapOptions | None = None,
    defects: Defects | None = None,
    calibration: Path | None = None,
) -> MappedNetwork:
    """A network file, mapped.

    Args:
        chips: ids of the chips that may be used, commas between; as few as needed if absent.
        calibration: file of the board's record; the nominal one if absent.
    """
    from bcall_hw.calibration import load_calibration
    from bcall_hw.mapper import map_network
    from bcall_hw.network import Network

    try:
        ids = None if chips is None else sorted({int(part) for part in chips.split(",")})
    except ValueError:
        raise InvalidValue("chip ids are whole numbers with commas between", where="--chips", used=chips) from None
    model = load_chip(chip)
    record = load_calibration(model, calibration)
    return map_network(Network.load(path), model, ids, calibration=record, options=options, defects=defects)


def source_of(
    path: Path, chip: str, chips: str | None, fan_in: str | None, calibration: Path | None, defects: Defects | None
) -> tuple[ChipConfig, MappedNetwork | None]:
    """Registers from a file, or of a network that is mapped first, and the mapped network where there is one.

    Raises:
        FileProblem: neither registers nor a network.
        InvalidValue: choices of a mapping beside registers, which are mapped already.
    """
    from bcall_hw.chip_config import ChipConfig
    from bcall_hw.mapper import MapOptions

    if path.suffix == ".h5":
        for name, given in (("--chips", chips), ("--fan-in", fan_in), ("--calibration", calibration)):
            if given is not None:
                fix = "Leave the option out, or give the network file."
                raise InvalidValue("registers are mapped already", where=name, used=str(given)[:80], fix=fix)
        return ChipConfig.load(path), None
    if path.suffix not in (".json", ".toml"):
        raise FileProblem("registers are .h5 files, networks .json or .toml", where=str(path)[:200])
    options = MapOptions() if fan_in is None else MapOptions(fan_in=cast("FanInPolicy", fan_in))
    mapped = mapped_network(path, chip, chips, options, defects, calibration)
    return mapped.config, mapped


def chosen_cores(text: str, where: str) -> tuple[tuple[int, int], ...]:
    """Cores from "0.0,0.1".

    Raises:
        InvalidValue: something else.
    """
    try:
        pairs = [part.split(".") for part in text.split(",")]
        return tuple(sorted((int(chip), int(core)) for chip, core in pairs))
    except ValueError:
        fix = "Write chip.core with commas between, e.g. 0.0,0.1."
        raise InvalidValue("are no cores", where=where, used=text[:80], fix=fix) from None


def poisson_rates(given: list[str]) -> dict[str, float]:
    """Rates from "input=Hz".

    Raises:
        InvalidValue: something else, or an input twice.
    """
    rates: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            rate = float(value)
        except ValueError:
            raise InvalidValue('is no rate: give "input=Hz"', where="--rate", used=text[:80]) from None
        if name in rates:
            raise InvalidValue("two rates for one input", where="--rate", used=name[:80], fix="Leave one of them out.")
        rates[name] = rate
    return rates


def refuse_for_real(backend: str, **options: object) -> None:
    """Refuse options, by name, that say which board is emulated where the backend's board is a real one.

    Raises:
        InvalidValue: with the option.
    """
    for name, given in options.items():
        if given is not None and backend not in EMULATED:
            where, fix = f"--{name.replace('_', '-')}", f"Leave the option out, or take the backend {' or '.join(EMULATED)}."
            raise InvalidValue("is for emulated boards", where=where, used=str(given)[:80], fix=fix)


def board_profile(
    path: Path | None, seed: int | None, mismatch_cv: float | None, board_seed: int | None = None, chip: str = DEFAULT_CHIP
) -> BoardProfile:
    """The virtual board: a profile file, one whose truth is hidden, or a seed and a mismatch.

    Args:
        board_seed: of the hidden truth; `chip`: model that it is drawn for.

    Raises:
        InvalidValue: the board is told in two ways.
    """
    from bcall_hw.backend.emulator.profile import BoardProfile

    whole = [(name, given) for name, given in (("--board-seed", board_seed), ("--profile", path)) if given is not None]
    parts = [(name, given) for name, given in (("--seed", seed), ("--mismatch-cv", mismatch_cv)) if given is not None]
    if whole and len(whole) + len(parts) > 1:
        name, given = [*whole[1:], *parts][0]
        what, used = f"{name} and {whole[0][0]} are both given", str(given)[:80]
        raise InvalidValue(what, where="board", used=used, fix="Leave one of them out: each says by itself which board it is.")
    if board_seed is not None:
        from bcall_hw.backend.emulator.hidden import hidden_board

        return hidden_board(load_chip(chip), board_seed)
    if path is not None:
        return BoardProfile.load(path)
    cv = DEFAULT_MISMATCH_CV if mismatch_cv is None else mismatch_cv
    return BoardProfile(seed=seed or 0, mismatch_cv=cv)


def open_board(
    address: str,
    config: ChipConfig,
    profile: BoardProfile,
    implementation: str,
    dt_us: int,
    pulses: str = "ideal",
    of_samna: Mapping[str, int] | None = None,
) -> Backend:
    """A backend for the chips of a configuration; the options of the emulator go to emulated boards alone.

    Raises:
        InvalidValue: an option of samna's boards for the emulator.
    """
    from bcall_hw.backend import open_backend

    emulated = {"profile": profile, "implementation": implementation, "dt_us": dt_us, "pulses": pulses}
    if not address.startswith("samna:"):
        for name, value in (of_samna or {}).items():
            where = f"--{name.replace('_', '-')}"
            raise InvalidValue("is for samna's boards", where=where, used=value, fix="Leave the option out.")
    if address == "emulator":
        return open_backend(address, chip=config.chip, chips=config.chips, **emulated)
    if address == "samna:virtual":
        return open_backend(address, chip=config.chip, **emulated, **(of_samna or {}))
    return open_backend(address, chip=config.chip, **(of_samna or {}))
