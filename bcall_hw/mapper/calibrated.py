"""What a calibration record knows of each core: which cores are taken first, and what is told where it does not know enough."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import replace

from bcall_hw.calibration import Calibration
from bcall_hw.mapper.board import Board, Core
from bcall_hw.mapping import BiasChoice
from bcall_hw.network import Network, NeuronParameters

#: A scale is measured at one target. The mapper warns of a wanted value that is further from it than this factor; what rounding
#: adds to a quotient that is exactly five does not count.
_FAR_FROM_TARGET = 5.0 * (1.0 + 1e-9)


def known_quantities(calibration: Calibration) -> dict[Core, set[str]]:
    """The quantities of each core that a measured record calibrated; cores without any are not in it.

    A quantity that has a scale and no verdict of its own (the second leak, a constant current that was no target) is
    calibrated too: records hold scales of what was proven alone.
    """
    known: dict[Core, set[str]] = {}
    if not calibration.measured:
        return known
    verdict = {(m.chip, m.core, m.quantity): m.ok for m in calibration.measured}
    verdict = {(chip, core, quantity): True for chip, core, quantity, _ in calibration.core_scales} | verdict
    for (chip, core, quantity), ok in verdict.items():
        if ok:
            known.setdefault((chip, core), set()).add(quantity)
    return known


def calibrated_first(network: Network, boards: Sequence[Board], calibration: Calibration) -> list[Board]:
    """The boards to try, those first whose populations without a wish stay on cores that the record calibrated.

    First come cores of which it knows all that the network asks for, then all of which it knows something, then every core.
    Where it knows as much of all cores, or nothing of any, the boards are those given.
    """
    free = [p for p in network.populations if p.place is None]
    known, asked = known_quantities(calibration), set[str]().union(*(_asked(p.neuron) for p in free))
    cores = dict.fromkeys(core for board in boards for core in board.cores)
    rank = {core: 2 if core not in known else int(not asked <= known[core]) for core in cores}
    ranks = sorted(set(rank.values()))
    if not free or len(ranks) == 1:
        return list(boards)
    neurons, found = sum(p.size for p in free), list[Board]()
    for worst in ranks:
        of_rank = [replace(board, rank=rank, worst_rank=worst) for board in boards]
        if worst > ranks[0]:  # cores that are known better come first among chips that are as good otherwise
            of_rank.sort(key=lambda board: (len(board.chips), int(board.warned.sum()), int(board.ranks.sum())))
        found += [board for board in of_rank if worst == ranks[-1] or neurons <= int(board.room[board.offered].sum())]
    return found


def _asked(neuron: NeuronParameters) -> set[str]:
    """The quantities of a neuron that a calibration can measure."""
    dpis = [*neuron.synapses, *(["adaptation"] if neuron.adaptation else [])]
    alone = {"tau_s", "refractory_s", "pulse_width_s", *(["dc_a"] if neuron.dc_a > 0 else [])}
    return alone | {f"{dpi}.{part}" for dpi in dpis for part in ("tau_s", "weight_a")}


def not_calibrated(choices: MappingOf[Core, list[BiasChoice]], calibration: Calibration) -> list[str]:
    """A word for every core with quantities in use that a measured record did not calibrate, or calibrated at other values."""
    if not calibration.measured:
        return []
    known, found = known_quantities(calibration), list[str]()
    targets = {((m.chip, m.core), m.quantity): m.target for m in calibration.measured}
    for core, chosen in choices.items():
        where = f"chip {core[0]} core {core[1]}"
        if core not in known:
            found.append(f"{where}: not calibrated by this record, which knows the board's capacitances alone of it")
            continue
        in_use = [c for c in chosen if c.quantity.endswith(("_s", "weight_a")) or (c.quantity == "dc_a" and c.wanted > 0)]
        missing = [c.quantity for c in in_use if c.quantity not in known[core]]
        if missing:
            found.append(f"{where}: not calibrated by this record: {', '.join(missing)}")
        far = []
        for choice in in_use:
            # The second leak is brought to the target of the first.
            first = targets.get((core, "tau_s"), 0.0) if choice.quantity == "tau2_s" else 0.0
            target = targets.get((core, choice.quantity), first)
            if choice.quantity in known[core] and target > 0 and _apart(choice.wanted, target) > _FAR_FROM_TARGET:
                unit = "s" if choice.quantity.endswith("_s") else "A"
                far.append(f"{choice.quantity} {choice.wanted:.4g} {unit} (calibrated at {target:.4g} {unit})")
        if far:
            found.append(f"{where}: far from where it was calibrated, so that its scales may not hold: {', '.join(far)}")
    return found


def _apart(a: float, b: float) -> float:
    """The factor between two positive values, 1 or more."""
    return max(a / b, b / a) if a > 0 else 1.0
