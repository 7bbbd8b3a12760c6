"""Calibration of virtual boards with a hidden truth: what the records say, against what the boards are.

python -m benchmarks.calibration --boards 2 --seed 0 --workers 2 --json
python -m benchmarks.calibration --boards 50 --targets random --scheduler tcp://head:8786

Board number s is `hidden_board(chip, s)`. A (core, parameter) is within where the true median of its live neurons, under the
codes of the record, lies within 3 % of the target; one without a code is not. CV: standard deviation / mean over those neurons
of a core that the record lets be used.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

from bcall_hw.calibrate.ensemble import BoardOptions, Timed, calibrated_board, ensemble, open_executor
from bcall_hw.errors import BcallError
from benchmarks.calibration_truth import DECADE_NAMES, Truth, judged

#: Date of all records, so that those of one seed are the same bytes whenever and wherever they are made.
DATE = "2026-01-01T00:00:00Z"


def options_of(arguments: argparse.Namespace, seeds: list[int]) -> BoardOptions:
    """What the command line asks for."""
    targets = {}
    if arguments.targets == "random":
        from benchmarks.calibration_targets import random_targets

        targets = {seed: random_targets(seed) for seed in seeds}
    return BoardOptions(
        date=DATE, chips=tuple(range(arguments.chips)), cores=((0, 0),) if arguments.cores == "one" else None,
        dt_us=arguments.dt_us, targets=targets, budget_s=arguments.budget_s,
    )  # fmt: skip


def judge_all(found: list[tuple[dict[str, Any], float, float]], options: BoardOptions) -> list[dict[str, Any]]:
    """Every board against its profile."""
    from bcall_hw.backend.emulator.hidden import hidden_board
    from bcall_hw.chip_model import load_chip

    chip = load_chip(options.chip)
    return [
        judged(Truth(chip, hidden_board(chip, board["seed"])), board) | {"wall_s": wall, "cpu_s": processor}
        for board, wall, processor in found
    ]


# The bars -------------------------------------------------------------------------------------------------------------


def share(values: Iterable[bool]) -> dict[str, Any]:
    """How many are true, of how many."""
    every = list(values)
    return {"n": len(every), "share": sum(every) / len(every) if every else None}


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Median and largest."""
    every = list(values)
    return {"n": len(every), "median": statistics.median(every) if every else None, "max": max(every, default=None)}


def added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Counts of all boards together, zeros included."""
    total: dict[str, int] = {}
    for mine in counts:
        for name, count in mine.items():
            total[name] = total.get(name, 0) + count
    return total


def bars(boards: list[dict[str, Any]]) -> dict[str, Any]:
    """All bars as plain values."""
    rows = [row for board in boards for row in board["cores"]]
    weights = [row for board in boards for row in board["weights"]]
    rates = [row for board in boards for row in board["rates"]]

    def coverage(key: str) -> dict[str, Any]:
        hits = added({q: pair[0] for q, pair in board[key].items()} for board in boards)
        known = added({q: pair[1] for q, pair in board[key].items()} for board in boards)
        total = sum(known.values())
        each = {q: hits[q] / known[q] if known[q] else None for q in sorted(known)}
        return {"n": total, "share": sum(hits.values()) / total if total else None, "by_parameter": each}

    def by(key: str) -> dict[str, Any]:
        found = {}
        for name in dict.fromkeys(row[key] for row in rows):
            mine = [row for row in rows if row[key] == name]
            errors = [abs(row["error"]) for row in mine if row["error"] is not None]
            found[name] = share(row["within"] for row in mine) | {
                "said_ok": sum(row["ok"] for row in mine) / len(mine), "worst_error": max(errors, default=None),
                "interval_coverage": share(row["covered"] for row in mine if row["covered"] is not None)["share"],
            }  # fmt: skip
        return found

    return {
        "within_3_percent": share(row["within"] for row in rows),
        "by_parameter": by("quantity"),
        "by_decade": by("decade"),
        "said_ok": sum(row["ok"] for row in rows),
        "said_ok_and_is_not": sum(row["ok"] and not row["within"] for row in rows),
        "not_ok_reasons": dict(Counter(row["reason"] for row in rows if not row["ok"])),
        "weight_cv": {
            name: spread(row[name] for row in weights) for name in ("before_4", "after_4", "before_8", "after_8")
        },
        "rate_cv": {name: spread(row[name] for row in rates) for name in ("before", "kept", "best_possible")},
        "neurons": added(board["neurons"] for board in boards),
        "cam": added(board["cam"] for board in boards),
        "gain_interval_coverage": coverage("gains"),
        "median_interval_coverage": share(row["covered"] for row in rows if row["covered"] is not None),
        "board_s": spread(board["board_s"] for board in boards),
        "cpu_s": spread(board["cpu_s"] for board in boards) | {"sum": sum(board["cpu_s"] for board in boards)},
        "board_wall_s": spread(board["wall_s"] for board in boards),
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for title, key in (("parameter", "by_parameter"), ("bias current", "by_decade")):
        heads = ("cores", "within 3 %", "said ok", "worst error", "interval holds")
        lines.append(f"{title:22}" + "".join(f"{head:>16}" for head in heads))
        order = sorted(found[key], key=lambda name: DECADE_NAMES.index(name) if name in DECADE_NAMES else -1)
        for name in order:
            row = found[key][name]
            values = (row["share"], row["said_ok"], row["worst_error"], row["interval_coverage"])
            lines.append(f"{name:22}{row['n']:>16}" + "".join(f"{percent(value):>16}" for value in values))
        lines.append("")
    total, gains, medians = (found[k] for k in ("within_3_percent", "gain_interval_coverage", "median_interval_coverage"))
    lines.append(f"within 3 %: {percent(total['share'])} of {total['n']} (core, parameter); said ok and is not: ")
    lines[-1] += f"{found['said_ok_and_is_not']}; not ok: {found['not_ok_reasons'] or 'none'}"
    cv = {name: f"{percent(v['median'])} (worst core {percent(v['max'])})" for name, v in found["weight_cv"].items()}
    lines.append(f"weight CV, 4 copies: {cv['before_4']}, after trim {cv['after_4']}")
    lines.append(f"weight CV, 8 copies: {cv['before_8']}, after trim {cv['after_8']}")
    cv = {name: f"{percent(v['median'])} (worst core {percent(v['max'])})" for name, v in found["rate_cv"].items()}
    lines.append(f"rate CV: {cv['before']}, best 75 % kept {cv['kept']}, chosen by the truth {cv['best_possible']}")
    count = Counter(found["neurons"])
    lines.append(
        f"neurons: {count['right']} of {count['neurons']} told right as ok or defect; {count['found']} of {count['defects']} "
        f"defects found, {count['named_right']} by name, false ok {count['false_ok']}, false defects {count['false_defect']}, "
        f"{count['left_out']} sound ones left out"
    )
    count = Counter(found["cam"])
    lines.append(
        f"CAM entries: {count['found']} of {count['bad']} bad ones found, false ok {count['false_ok']}, false defects "
        f"{count['false_defect']}; {count['stuck_named']} of {count['stuck']} stuck bits named"
    )
    lines.append(
        f"95 % intervals hold for {percent(gains['share'])} of {gains['n']} gains of neurons "
        f"and {percent(medians['share'])} of {medians['n']} core medians"
    )
    lines.append("  gains by parameter: " + ", ".join(f"{q} {percent(v)}" for q, v in gains["by_parameter"].items()))
    board, cpu = found["board_s"], found["cpu_s"]
    lines.append(
        f"a board: {board['median'] or 0:.1f} s of board time (most {board['max'] or 0:.1f}), {cpu['median'] or 0:.0f} s of "
        f"processor; all: {found['wall_s']:.0f} s, {cpu['sum']:.0f} s of processors"
    )
    return "\n".join(lines)


def percent(value: float | None) -> str:
    """As people read it."""
    return "-" if value is None else f"{100 * value:.2f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the first board; the others follow")
    parser.add_argument("--chips", type=int, default=4, choices=(1, 2, 3, 4))
    parser.add_argument("--cores", choices=("all", "one"), default="all", help="one: core 0 of chip 0 alone")
    parser.add_argument("--dt-us", type=int, default=50, help="time step of the emulator (us)")
    parser.add_argument("--targets", choices=("default", "random"), default="default")
    parser.add_argument("--budget-s", type=float, default=300.0, help="board time that each board may use (s)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler; processes of this machine if absent")
    parser.add_argument("--workers", type=int, help="processes; with a scheduler, workers that have to be there")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.boards < 1 or arguments.seed < 0:
        raise SystemExit("limits: at least one board, seed 0 or above")
    if arguments.cores == "one":
        arguments.chips = 1
    seeds = list(range(arguments.seed, arguments.seed + arguments.boards))
    options, start = options_of(arguments, seeds), time.perf_counter()

    def report(what: str, done: int, total: int) -> None:
        print(f"{done} of {total} {what}, {time.perf_counter() - start:.0f} s", file=sys.stderr)

    try:
        with open_executor(arguments.scheduler, arguments.workers) as executor:
            boards = ensemble(Timed(partial(calibrated_board, options=options)), seeds, executor, report=report)
    except BcallError as problem:
        raise SystemExit(f"{type(problem).__name__}: {problem}") from None
    wall = time.perf_counter() - start
    judged = judge_all(boards, options)
    found = {
        "boards": arguments.boards, "seed": arguments.seed, "chips": arguments.chips, "cores": arguments.cores,
        "dt_us": arguments.dt_us, "targets": arguments.targets, "scheduler": arguments.scheduler, "wall_s": wall,
    } | bars(judged)  # fmt: skip
    found["each"] = [{key: board[key] for key in ("seed", "ok", "board_s", "cpu_s", "wall_s")} for board in judged]
    print(json.dumps(found) if arguments.json else table(found))


if __name__ == "__main__":
    main()
