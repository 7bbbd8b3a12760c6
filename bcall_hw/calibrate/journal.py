"""What a calibration has found so far, in a file, so that a killed run goes on after its last finished step."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bcall_hw import __version__, files, h5_files
from bcall_hw.calibrate.estimate import Estimate
from bcall_hw.calibrate.findings import Findings
from bcall_hw.calibrate.rig import Rig
from bcall_hw.calibrate.scan import ScanResult
from bcall_hw.calibrate.targets import Targets
from bcall_hw.chip_config import WORD_DTYPE, ChipConfig
from bcall_hw.chip_model import BiasCode
from bcall_hw.errors import ForeignFile
from bcall_hw.failure_reasons import FailureReason

if TYPE_CHECKING:
    import h5py

_KIND, _VERSION = "calibration_journal", 1
_OF_BENCH = (
    "alive", "entries", "bracketed", "charge_scale", "dc_scale", "dc_error", "leak_scale", "threshold_scale",
    "refractory_scale",
)  # fmt: skip
_MASKS, _LISTS = ("alive", "hot", "silent"), ("dead_cam", "stuck_tag_bits", "unclear", "unmeasured")


class Journal:
    """One file, written whole after each step.

    Args:
        path: the file.
        findings, rig: what is saved, and brought back.
        targets, seed, lasting: with the board and the cores what a journal must agree with.
        before, made: the registers to which the board returns, and when the run began; those of the first run, after `load`.
    """

    def __init__(
        self, path: Path, findings: Findings, rig: Rig, targets: Targets, seed: int, lasting: bool, before: ChipConfig,
        made: datetime,
    ) -> None:  # fmt: skip
        self.path, self.findings, self.rig, self.before, self.made = path, findings, rig, before, made
        what = {
            "board": rig.backend.board, "chip": rig.chip.fingerprint, "cores": rig.cores, "seed": seed,
            "backend": rig.backend.name, "lasting": lasting, "software": __version__,
            "targets": targets.model_dump(mode="json"),
        }  # fmt: skip
        self._key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        self.turn = 0
        files.check_writable(path)

    def save(self, done: int, turn: int) -> None:
        """Write everything.

        Args:
            done: steps that are finished; turn: measurements with volleys so far.
        """
        f, bench = self.findings, self.findings.bench
        small = {
            "done": done, "turn": turn, "spent_s": self.rig.spent_s, "grain_s": bench.grain_s, "soma_error": bench.soma_error,
            "overloaded": sorted(self.rig.overloaded),
            "lost": [reason.value for reason in f.lost],
            "drifted": f.drifted.tolist(), "drift_checked": f.drift_checked,
            "failed": {q: [reason.value for reason in reasons] for q, reasons in f.failed.items()},
            "codes": {q: [{n: c.model_dump() for n, c in mine.items()} for mine in every] for q, every in f.codes.items()},
            "curves": [[*core, points] for core, points in f.curves.items()],
            "current_a": {role: values.tolist() for role, values in bench.current_a.items()},
        }  # fmt: skip
        with h5_files.h5_written_whole(self.path, _KIND, _VERSION) as file:
            file.attrs["key"], file.attrs["small"] = self._key, json.dumps(small)
            for name in _OF_BENCH:
                file[f"bench/{name}"] = getattr(bench, name)
            for group, estimates in (("first", f.first), ("held", f.held), ("more", {"threshold": f.threshold})):
                for quantity, estimate in estimates.items():
                    if estimate is not None:
                        file[f"{group}/{quantity}"] = np.stack([estimate.value, estimate.error])
                        file[f"{group}/{quantity}"].attrs.update(common=estimate.common, each=estimate.each)
            for group, arrays in (("scales", f.scales.of), ("coarse", f.coarse)):
                for quantity, values in arrays.items():
                    file[f"{group}/{quantity}"] = values
            for number, (currents, intervals) in enumerate(f.sentinels):
                for role, current in currents.items():
                    file[f"sentinels/{number}/{role}"] = current
                file[f"sentinels/{number}/intervals"] = intervals
            if f.scanned is not None:
                self._save_scan(file, f.scanned)
            file["words"], file["before"] = self.rig.config.words(), self.before.words()
            file.attrs["chips_before"], file.attrs["made"] = list(self.before.chips), self.made.isoformat()
            state = self.rig.backend.save_state()
            file.attrs["state"] = json.dumps({n: v for n, v in state.items() if not isinstance(v, np.ndarray)})
            for name, value in state.items():
                if isinstance(value, np.ndarray):
                    file[f"state/{name}"] = value

    @staticmethod
    def _save_scan(file: h5py.File, found: ScanResult) -> None:
        for name in _MASKS:
            file[f"scan/{name}"] = getattr(found, name)
        lists = {name: getattr(found, name) for name in _LISTS}
        file.attrs["scan"] = json.dumps(lists | {"board_s": found.board_s})

    def load(self) -> int:
        """Bring everything back; the backend goes on from its state where it has one. Returns the number of finished steps.

        Raises:
            FileProblem, CorruptFile, ForeignFile: missing, damaged, or of another calibration (see the error).
        """
        f, bench = self.findings, self.findings.bench
        with h5_files.h5_read(self.path, _KIND, _VERSION) as file:
            if str(file.attrs["key"]) != self._key:
                fix = "Start without --resume."
                what = "is the journal of another calibration (board, backend, pulses, cores, seed, targets or version)"
                raise ForeignFile(what, where=str(self.path), fix=fix)
            small = json.loads(str(file.attrs["small"]))
            for name in _OF_BENCH:
                setattr(bench, name, np.asarray(file[f"bench/{name}"][...]))
            for group, estimates in (("first", f.first), ("held", f.held)):
                for quantity in file.get(group, {}):
                    estimates[quantity] = _estimate_of(file[f"{group}/{quantity}"])
            if "more/threshold" in file:
                f.threshold = _estimate_of(file["more/threshold"])
            for group, arrays in (("scales", f.scales.of), ("coarse", f.coarse)):
                for quantity in file.get(group, {}):
                    arrays[quantity] = np.asarray(file[f"{group}/{quantity}"][...])
            for number in sorted(file.get("sentinels", {})):
                values = {role: np.asarray(table[...]) for role, table in file[f"sentinels/{number}"].items()}
                f.sentinels.append((values, values.pop("intervals")))
            if "scan" in file:
                f.scanned = self._scan_of(file)
            config = ChipConfig.from_words(self.rig.chip, self.rig.chips, h5_files.array_of(file, "words", WORD_DTYPE))
            self.made = datetime.fromisoformat(str(file.attrs["made"]))
            held = tuple(int(chip) for chip in file.attrs["chips_before"])
            self.before = ChipConfig.from_words(self.rig.chip, held, h5_files.array_of(file, "before", WORD_DTYPE))
            state: dict[str, Any] = json.loads(str(file.attrs["state"]))
            state |= {name: np.asarray(file[f"state/{name}"][...]) for name in file.get("state", {})}
        self._small(small)
        self.rig.restore(config, float(small["spent_s"]), {(int(c), int(k)) for c, k in small["overloaded"]})
        self.rig.backend.apply(config)
        if state:
            self.rig.backend.load_state(state)
        self.turn = int(small["turn"])
        return int(small["done"])

    def _small(self, small: dict[str, Any]) -> None:
        f, bench = self.findings, self.findings.bench
        bench.grain_s, bench.soma_error = float(small["grain_s"]), float(small["soma_error"])
        bench.current_a = {role: np.array(values) for role, values in small["current_a"].items()}
        f.lost = [FailureReason(reason) for reason in small["lost"]]
        f.drift_checked = bool(small["drift_checked"])
        f.drifted = np.array(small["drifted"], dtype=bool)
        f.failed = {q: [FailureReason(reason) for reason in reasons] for q, reasons in small["failed"].items()}
        f.codes = {q: [{n: BiasCode(**c) for n, c in mine.items()} for mine in every] for q, every in small["codes"].items()}
        f.curves = {(int(chip), int(core)): [tuple(p) for p in points] for chip, core, points in small["curves"]}

    def _scan_of(self, file: h5py.File) -> ScanResult:
        lists = json.loads(str(file.attrs["scan"]))
        masks: dict[str, Any] = {name: np.asarray(file[f"scan/{name}"][...]) for name in _MASKS}
        rows: dict[str, Any] = {name: tuple(tuple(row) for row in lists[name]) for name in _LISTS}
        return ScanResult(cores=self.rig.cores, board_s=float(lists["board_s"]), **masks, **rows)


def _estimate_of(table: h5py.Dataset) -> Estimate:
    value, error = np.asarray(table[...])
    return Estimate(value, error, float(table.attrs["common"]), float(table.attrs["each"]))
