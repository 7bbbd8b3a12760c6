"""Calibration records: what was measured of one board, until when it holds, and a hash that proves it unchanged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from bcall_hw import files, random_bits
from bcall_hw.calibration_parts import (
    Circuit,
    CoreQuantity,
    Excluded,
    Gains,
    Measured,
    Scale,
    SecondLeak,
    Sha256,
    Utc,
    utc_text,
    utc_time,
)
from bcall_hw.chip_model import ChipModel
from bcall_hw.defects import Defects, Entry, Id, Neuron, StuckBit, check_places, check_stuck
from bcall_hw.errors import CorruptFile, FileProblem, ForeignFile, InvalidValue, StaleRecord, WrongBoard
from bcall_hw.records import Record, data_folder

_FORMAT: Final = "bcall_hw/calibration"
_VERSION: Final = 2


class Calibration(Record):
    """What is known of one board beyond the chip model.

    Attributes:
        kind: nominal (nothing measured) or measured.
        chip: name of the chip model; `chip_sha256` its fingerprint, "" in a nominal record alone.
        board: serial number of the board, or "nominal".
        date: when it was measured; `expires`: from when on it is too old, None for never.
        software: version of this package that made it; `backend`: what measured it; `seed`: of its choices.
        temperature_c: of the board, where it is known.
        capacitance_scale: measured / nominal capacitance of each circuit, for the whole board.
        core_scales: (chip, core, quantity, scale): measured / predicted value on one core, beyond the capacitance; 1 where
            none is given.
        gains: how the neurons of a core differ from its median.
        dead_neurons, dead_cam, stuck_tag_bits: as in `Defects`, found by measuring.
        excluded: neurons that are not to be used.
        second_leak: neurons that the second leak bias brings nearer to the others.
        measured: targets and what was reached.
        sha256: of everything else, see `sealed`.
    """

    format: Literal["bcall_hw/calibration"] = _FORMAT
    format_version: Literal[2] = _VERSION
    kind: Literal["nominal", "measured"]
    chip: str
    chip_sha256: Sha256 = ""
    board: Annotated[str, Field(min_length=1)]
    date: Utc
    expires: Utc | None = None
    software: str = ""
    backend: str = ""
    seed: Annotated[int, Field(ge=0, le=random_bits.MAX_SEED)] = 0
    temperature_c: float | None = None
    note: str = ""
    capacitance_scale: dict[Circuit, Scale] = Field(default_factory=dict)
    core_scales: tuple[tuple[Id, Id, CoreQuantity, Scale], ...] = ()
    gains: tuple[Gains, ...] = ()
    dead_neurons: tuple[Neuron, ...] = ()
    dead_cam: tuple[Entry, ...] = ()
    stuck_tag_bits: tuple[StuckBit, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    second_leak: tuple[SecondLeak, ...] = ()
    measured: tuple[Measured, ...] = ()
    sha256: Sha256 = ""

    def __init__(self, /, **data: Any) -> None:
        super().__init__(**data)
        made = utc_time(self.date, "calibration record, date")
        if self.expires is not None and utc_time(self.expires, "calibration record, expires") <= made:
            where, fix = "calibration record, expires", "Give a later time."
            raise InvalidValue("expires before it was measured", where=where, used=self.expires, limit=self.date, fix=fix)
        if self.kind == "measured":
            for name in ("chip_sha256", "expires", "backend"):
                if not getattr(self, name):
                    raise InvalidValue("a measured record must say this", where=f"calibration record, {name}", used="nothing")
        check_stuck(self.stuck_tag_bits, "calibration record stuck_tag_bits")
        _check_once("core_scales", ((chip, core, quantity) for chip, core, quantity, _ in self.core_scales))
        _check_once("gains", ((g.chip, g.core, g.quantity) for g in self.gains))
        _check_once("excluded", ((e.chip, e.core, e.neuron) for e in self.excluded))
        _check_once("second_leak", ((s.chip, s.core) for s in self.second_leak))

    def check(self, chip: ChipModel) -> None:
        """Refuse places, codes and lengths that a chip does not have.

        Raises:
            InvalidValue, UnknownBias: with the place in the record, and the limit.
        """
        places: dict[str, Sequence[tuple[int, ...]]] = {
            "core_scales": [(of_chip, core) for of_chip, core, _, _ in self.core_scales],
            "gains": [(g.chip, g.core) for g in self.gains],
            "measured": [(m.chip, m.core) for m in self.measured],
            "second_leak": [(s.chip, s.core) for s in self.second_leak],
            "excluded": [(e.chip, e.core, e.neuron) for e in self.excluded],
            "dead_neurons": self.dead_neurons, "dead_cam": self.dead_cam, "stuck_tag_bits": self.stuck_tag_bits,
        }  # fmt: skip
        for number, leak in enumerate(self.second_leak):
            places[f"second_leak[{number}].neurons"] = [(leak.chip, leak.core, neuron) for neuron in leak.neurons]
        for name, of_name in places.items():
            check_places(chip, of_name, f"calibration record {name}")
        for number, gains in enumerate(self.gains):
            used, limit = len(gains.gain), chip.geometry.neurons
            if used != limit:
                where = f"calibration record gains[{number}]"
                raise InvalidValue("one gain for each neuron of the core is needed", where=where, used=used, limit=limit)
        for number, measured in enumerate(self.measured):
            measured.check_codes(chip, f"calibration record measured[{number}]")

    def capacitance_f(self, chip: ChipModel, circuit: Circuit) -> float:
        """Capacitance of a circuit on this board (F)."""
        return float(getattr(chip.capacitances_f, circuit)) * self.capacitance_scale.get(circuit, 1.0)

    def scale(self, chip_id: int, core: int, quantity: CoreQuantity) -> float:
        """Measured / predicted value of a quantity on one core, beyond the capacitance."""
        return self.scales_of((chip_id, core)).get(quantity, 1.0)

    def scales_of(self, core: tuple[int, int] | None) -> Mapping[str, float]:
        """The scales of one core (chip id, core) by quantity, 1 where none is given; none at all without a core."""
        return self._scales.get(core, {}) if core is not None else {}

    @cached_property
    def _scales(self) -> dict[tuple[int, int], dict[str, float]]:
        scales: dict[tuple[int, int], dict[str, float]] = {}
        for chip, core, quantity, scale in self.core_scales:
            scales.setdefault((chip, core), {})[quantity] = scale
        return scales

    @cached_property
    def defects(self) -> Defects:
        """What of the board is not to be used: defects, and the excluded neurons among the dead ones."""
        dead = {*self.dead_neurons, *((e.chip, e.core, e.neuron) for e in self.excluded)}
        return Defects(dead_neurons=tuple(sorted(dead)), dead_cam=self.dead_cam, stuck_tag_bits=self.stuck_tag_bits)


def _check_once(name: str, keys: Iterable[tuple[object, ...]]) -> None:
    seen = set[tuple[object, ...]]()
    for number, key in enumerate(keys):
        if key in seen:
            where, fix = f"calibration record {name}[{number}]", "Leave one of them out."
            raise InvalidValue("is there twice", where=where, used=" ".join(map(str, key)), fix=fix)
        seen.add(key)


def _content_sha256(record: Calibration) -> str:
    content = record.model_dump(mode="json", exclude={"sha256"})
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed(record: Calibration) -> Calibration:
    """The record with the hash of its content."""
    return record.model_copy(update={"sha256": _content_sha256(record)})


def save_calibration(record: Calibration, path: Path) -> None:
    """Write a record with its hash, whole or not at all.

    Raises:
        FileProblem: it cannot be written.
    """
    files.write_json(path, sealed(record).model_dump(mode="json"))


def load_calibration(
    chip: ChipModel,
    path: Path | None = None,
    *,
    board: str | None = None,
    now: datetime | None = None,
    allow_stale: bool = False,
) -> Calibration:
    """The calibration record in `path`, or the chip's nominal one.

    Args:
        board: serial number of the board that it is for; any board if absent.
        now: time by which a record is too old; the clock's if absent.
        allow_stale: take one that is.

    Raises:
        FileProblem, CorruptFile, ForeignFile: missing, damaged, or for another chip.
        InvalidValue, UnknownBias: a value that no record may have, or that the chip does not have.
        WrongBoard, StaleRecord: of another board, or too old.
    """
    path = path or data_folder("calibration") / f"{chip.name}_nominal.json"
    if not files.is_file(path):
        raise FileProblem("no such calibration record", where=str(path))
    record = _read(path)
    if record.chip != chip.name:
        raise ForeignFile("is a record of another chip", where=str(path), used=record.chip[:80], limit=chip.name)
    if record.chip_sha256 not in ("", chip.fingerprint):
        used, limit = record.chip_sha256[:12], chip.fingerprint[:12]
        fix = "Calibrate again."
        raise ForeignFile("was made with another chip model file", where=str(path), used=used, limit=limit, fix=fix)
    record.check(chip)
    if board is not None:
        check_board(record, board, str(path))
    now = now or datetime.now(timezone.utc)
    if record.expires is not None and not allow_stale and now > utc_time(record.expires, str(path)):
        fix = "Calibrate again."
        raise StaleRecord("is too old", where=str(path), used=utc_text(now), limit=record.expires, fix=fix)
    return record


def _read(path: Path) -> Calibration:
    values = files.read_json(path)
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise ForeignFile("is not a calibration record", where=str(path))
    version = values.get("format_version")
    if version != _VERSION:
        fix = "Calibrate again." if version == 1 else "Update bcall-hw."
        used = repr(version)[:80]
        raise ForeignFile("has another format version", where=str(path), used=used, limit=_VERSION, fix=fix)
    try:
        record = Calibration(**values)
    except InvalidValue as problem:
        where = f"{path}: {problem.where}"
        raise InvalidValue(problem.what, where=where, used=problem.used, limit=problem.limit, fix=problem.fix) from None
    if record.sha256 != _content_sha256(record):
        fix = "Take the file as it was written, or calibrate again."
        raise CorruptFile("was changed after it was written", where=str(path), fix=fix)
    return record


def check_board(calibration: Calibration, board: str, where: str = "calibration record") -> None:
    """Refuse a measured record of another board; a nominal one is for all.

    Args:
        board: serial number of the board that is used, `Backend.board`.

    Raises:
        WrongBoard: with both serial numbers.
    """
    if calibration.kind == "measured" and calibration.board != board:
        fix = (
            "Use this board's record, or calibrate it. Emulated boards: give the --board-seed or --profile that calibrate had."
        )
        raise WrongBoard("is of another board", where=where, used=calibration.board[:80], limit=board, fix=fix)
