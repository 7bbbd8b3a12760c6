"""Every error this package raises on purpose: one root, one class per broken limit.

An error carries what a program needs to react (`where`, `used`, `limit`, `fix`) and prints as one sentence a person can act on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


class BcallError(Exception):
    """Root of all errors of this package.

    Args:
        what: what is wrong, in words.
        where: the thing it happened to (neuron, core, file, parameter).
        used: the value that was found.
        limit: the bound that it broke.
        fix: what to do about it.
    """

    def __init__(self, what: str, *, where: str = "", used: object = None, limit: object = None, fix: str = "") -> None:
        self.what, self.where, self.used, self.limit, self.fix = what, where, used, limit, fix
        details = [f"got {used}" if used is not None else "", f"limit {limit}" if limit is not None else ""]
        detail = ", ".join(d for d in details if d)
        text = f"{where}: {what}" if where else what
        super().__init__(text + (f" ({detail})" if detail else "") + (f". {fix}" if fix else ""))

    def as_dict(self) -> dict[str, Any]:
        """The error as plain values, for `--json`."""
        fields = {"error": type(self).__name__, "what": self.what, "where": self.where, "fix": self.fix}
        return fields | {"used": _plain(self.used), "limit": _plain(self.limit)}


class InvalidValue(BcallError):
    """A value that no network, record or option may have (NaN, negative time constant, wrong type)."""


class EmptyNetwork(BcallError):
    """A network without a neuron."""


class UnknownName(BcallError):
    """A name that does not exist where it was looked up."""


class UnknownChip(UnknownName):
    """No chip model of that name."""


class UnknownBias(UnknownName):
    """The chip has no bias of that name or role."""


class FileProblem(BcallError):
    """A file that cannot be read or written, with its path."""


class CorruptFile(FileProblem):
    """The file is ours but damaged or truncated."""


class ForeignFile(FileProblem):
    """The file is of another kind, chip or version."""


class WrongBoard(ForeignFile):
    """A calibration record of another board than the one that is used."""


class StaleRecord(FileProblem):
    """A calibration record that is older than it may be."""


class CurrentOutOfRange(BcallError):
    """No bias code gives this current, or a value near enough to it."""


class MappingViolation(BcallError):
    """One rule of the chip that a network or configuration breaks."""


class FanInExceeded(MappingViolation):
    """More inputs on a neuron than it has CAM entries."""


class TagCollision(MappingViolation):
    """Two sources reach one core under the same tag."""


class TagsExhausted(MappingViolation):
    """No free tag is left for a source in one of its target cores."""


class ReservedTag(MappingViolation):
    """A source uses the tag that every unused CAM entry listens to."""


class DestinationsExceeded(MappingViolation):
    """A neuron needs more SRAM entries than are usable, or a hop is too long."""


class PlacementFull(MappingViolation):
    """The neurons do not fit the cores that are allowed."""


class BiasConflict(MappingViolation):
    """Neurons with different targets share the biases of one core."""


class DefectInTheWay(MappingViolation):
    """A neuron or CAM entry that is needed, and cannot be replaced by another, does not work on this board."""


class SourcesExceeded(MappingViolation):
    """More FPGA sources than the board has."""


class UnheardTag(MappingViolation):
    """A CAM entry listens to a tag that no source sends to its core."""


class RoundTripBroken(MappingViolation):
    """The registers do not hold the network that they were made from: a defect of the mapper."""


class FieldOverflow(MappingViolation):
    """A register field holds a value that its bits cannot."""


class NetworkDoesNotFit(BcallError):
    """All violations of one network or configuration, gathered before raising.

    Args:
        violations: every broken rule, at least one.
        subject: what was checked.
    """

    def __init__(self, violations: Sequence[BcallError], subject: str = "network") -> None:
        self.violations = tuple(violations)
        shown = [f"  - {v}" for v in self.some(20)]
        if len(self.violations) > 20:
            shown.append(f"  - ... and {len(self.violations) - 20} more")
        super().__init__(f"{subject} breaks {len(self.violations)} rule(s) of the chip:\n" + "\n".join(shown))

    def some(self, count: int) -> list[BcallError]:
        """So many of the violations, in order, and of every kind some."""
        kinds: dict[type[BcallError], list[int]] = {}
        for index, violation in enumerate(self.violations):
            kinds.setdefault(type(violation), []).append(index)
        turns = [(turn, index) for indices in kinds.values() for turn, index in enumerate(indices)]
        return [self.violations[index] for index in sorted(index for _, index in sorted(turns)[:count])]

    def as_dict(self) -> dict[str, Any]:
        """The error and all its violations as plain values."""
        return {"error": type(self).__name__, "what": self.what, "violations": [v.as_dict() for v in self.violations]}


class StimulusProblem(BcallError):
    """A stimulus that the FPGA cannot play."""


class StimulusOrder(StimulusProblem):
    """Stimulus times that are not sorted."""


class StimulusTooLong(StimulusProblem):
    """More events than the stimulus memory may hold."""


class IsiOverflow(StimulusProblem):
    """A gap between stimulus events that the 16-bit interval cannot hold."""


class BackendUnavailable(BcallError):
    """The backend is not there: not installed, not built in this version, or no such device."""


class BackendProblem(BcallError):
    """A backend refused or failed at something."""


class NoSuchBoard(BackendUnavailable):
    """No board is plugged in, or none with this serial number."""


class BoardBusy(BackendUnavailable):
    """Another program holds the board, or the right to open it is missing."""


class PortInUse(BackendUnavailable):
    """The network ports that were asked for are taken."""


class NotRecorded(BackendProblem):
    """A replayed session was asked for something that was not recorded, or not at this point."""


class BoardClosed(BackendProblem):
    """The board is not open any more; its registers may be unknown."""


class WorkerDied(BackendProblem):
    """The process that runs samna ended by a crash or a signal; the board's registers are unknown."""


class WorkerHangs(BackendProblem):
    """The process that runs samna did not answer in time and was ended; the board's registers are unknown."""


class BoardLost(BackendProblem):
    """The board did not take what was sent to it: unplugged, or its USB connection failed."""


class SpikesLost(BackendProblem):
    """Spikes were lost between the board and this program."""


class EventFlood(BackendProblem):
    """The board sends more spikes than a run may hold."""


class TimestampsBroken(BackendProblem):
    """Time stamps of spikes that do not fit the run that they belong to."""


class BudgetSpent(BcallError):
    """A measurement needs more board time than was given."""


class JobFailed(BcallError):
    """The work on one seed of an ensemble raised an error, which is this one's cause."""


class JobLost(BcallError):
    """The worker that had one seed of an ensemble was lost, as often as it was tried."""


class EmulatorOverflow(BackendProblem):
    """A current or count does not fit the emulator's state words."""


def _plain(value: object) -> int | float | str | None:
    """A value that every JSON parser takes: NaN and infinities as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, int | float | str | None) else str(value)
