"""Our metrics of spike trains beside elephant's and pyspike's, on pairs drawn anew: `make oracles ORACLE_ARGS="--seed N"`.

Runs in an environment of its own (tests/oracles/metrics-requirements.txt). Ends with 1 where a value differs by more than 1e-9,
or where the other program has none for a reason that is not named here. `--golden FILE` writes pairs and the other programs'
values for tests/test_compare_metrics.py instead.

Two programs are compared as they are, with these exceptions: where elephant's van Rossum distance is below 1e-2, its square is
compared (elephant takes the root of a difference of sums of up to n^2 terms: an error of 1e-12 there is one of 1e-10 at 1e-2,
and of 1e-6 at 0); trains that `EXCLUDED` names.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from pairs import TICK_HZ, Pair, draw, widened

LIMIT = 1e-9
SQUARED_BELOW = 1e-2
PAIRWISE = ("sttc", "victor_purpura", "van_rossum", "isi_distance", "spike_distance", "spike_synchronisation")
SINGLE = ("rate_hz", "mean_isi_s", "isi_cv", "local_variation", "fano_factor", "count_correlation")
EXCLUDED = {
    "empty": "elephant has no STTC with an empty train",
    "widened": "elephant's STTC widens the window by 1e-5 of a spike's time",
    "lone at the end": "both trains are one spike at the end: pyspike divides 0 by 0",
    "too few spikes": "not defined for so few spikes (ours is NaN)",
    "same times": "three spikes at one time: not defined (ours is NaN)",
    "constant": "all counts of a train are the same: not defined (ours is NaN)",
    "at the end": "elephant has a spike at the very end in no bin",
}


def others(pair: Pair) -> dict[str, float | str]:
    """Values of elephant and pyspike; where they have none, the key in `EXCLUDED` of why."""
    import neo
    import pyspike
    import quantities as pq
    from elephant import conversion, spike_train_correlation, spike_train_dissimilarity, statistics

    left, right = pair.times_s
    trains = [neo.SpikeTrain(t, units="s", t_start=0.0, t_stop=pair.duration_s) for t in (left, right)]
    found: dict[str, float | str] = {}
    # Between two trains.
    if not (len(left) and len(right)):
        found["sttc"] = "empty"
    elif _decided_by_tolerance(left, right, pair.window_s):
        found["sttc"] = "widened"
    else:
        found["sttc"] = spike_train_correlation.spike_time_tiling_coefficient(*trains, dt=pair.window_s * pq.s)
    found["victor_purpura"] = spike_train_dissimilarity.victor_purpura_distance(trains, cost_factor=pair.cost_hz * pq.Hz)[0, 1]
    found["van_rossum"] = spike_train_dissimilarity.van_rossum_distance(trains, time_constant=pair.tau_s * pq.s)[0, 1]
    spikes = [pyspike.SpikeTrain(t, [0.0, pair.duration_s]) for t in (left, right)]
    at_end = all(len(set(t)) == 1 and t[0] == pair.end for t in (pair.left.tolist(), pair.right.tolist()))
    found["isi_distance"] = "lone at the end" if at_end else pyspike.isi_distance(*spikes)
    found["spike_distance"] = "lone at the end" if at_end else pyspike.spike_distance(*spikes)
    found["spike_synchronisation"] = pyspike.spike_sync(*spikes)
    # Of each train.
    for side, ticks, train in (("left", pair.left, trains[0]), ("right", pair.right, trains[1])):
        isi, name = statistics.isi(train).rescale("s").magnitude, f"{{}}, {side}".format
        found[name("rate_hz")] = float(statistics.mean_firing_rate(train).rescale("Hz").magnitude) if len(train) else 0.0
        found[name("mean_isi_s")] = float(isi.mean()) if len(isi) else "too few spikes"
        defined = len(isi) >= 2
        found[name("isi_cv")] = statistics.cv(isi) if defined and isi.any() else "too few spikes"
        tripled = bool(np.any((np.diff(ticks)[:-1] == 0) & (np.diff(ticks)[1:] == 0)))
        found[name("local_variation")] = ("same times" if tripled else statistics.lv(isi)) if defined else "too few spikes"
        pieces = _pieces(ticks, pair)
        found[name("fano_factor")] = statistics.fanofactor(pieces) if len(ticks) else "too few spikes"
    if any(len({len(p) for p in _pieces(t, pair)}) == 1 for t in (pair.left, pair.right)):
        found["count_correlation"] = "constant"
    elif any(t[-1] == pair.end for t in (pair.left, pair.right)):
        found["count_correlation"] = "at the end"
    else:
        binned = conversion.BinnedSpikeTrain(trains, n_bins=pair.bins, t_start=0 * pq.s, t_stop=pair.duration_s * pq.s)
        found["count_correlation"] = float(spike_train_correlation.correlation_coefficient(binned)[0, 1])
    return found


def ours(pair: Pair) -> dict[str, float]:
    """The same by the package."""
    from bcall_hw.compare import pairwise, single
    from bcall_hw.compare.trains import Trains

    trains = Trains.of(list(pair.times_s), pair.duration_s)
    index = np.array([0]), np.array([1])
    extra = {"sttc": (pair.window_s,), "victor_purpura": (pair.cost_hz,), "van_rossum": (pair.tau_s,)}
    found = {name: float(getattr(pairwise, name)(trains, *index, *extra.get(name, ()))[0]) for name in PAIRWISE}
    counts = single.counts(trains, pair.duration_s / pair.bins)
    values = {
        "rate_hz": single.rates_hz(trains), "mean_isi_s": single.mean_isi_s(trains), "isi_cv": single.isi_cv(trains),
        "local_variation": single.local_variation(trains), "fano_factor": single.fano_factor(counts),
    }  # fmt: skip
    for name, (left, right) in values.items():
        found[f"{name}, left"], found[f"{name}, right"] = float(left), float(right)
    return found | {"count_correlation": float(single.count_correlation(counts)[0, 1])}


def deviation(metric: str, mine: float, other: float) -> float:
    """How far apart two values are; NaN counts as infinitely far from a number."""
    if metric == "van_rossum" and other < SQUARED_BELOW:
        mine, other = mine**2, other**2
    apart = abs(mine - other)
    return apart if np.isfinite(apart) else float("inf")


def _decided_by_tolerance(left: np.ndarray, right: np.ndarray, window_s: float) -> bool:
    """Whether a spike has a neighbour in the window only by the relative tolerance."""
    wide, inside = widened(left, right, window_s), np.abs(left[:, None] - right[None, :]) <= window_s + 1e-12
    return any(bool(np.any(wide.any(axis=axis) & ~inside.any(axis=axis))) for axis in (0, 1))


def _pieces(ticks: np.ndarray, pair: Pair) -> list[np.ndarray]:
    """Ticks in each bin, by whole numbers; those at the end in the last one."""
    index = np.minimum(ticks * pair.bins // pair.end, pair.bins - 1)
    return [ticks[index == k] / TICK_HZ for k in range(pair.bins)]


def write_golden(path: Path, pairs: list[Pair], values: list[dict[str, float | str]]) -> None:
    """Pairs and values as arrays; NaN where the other program is excluded, and `why` says by which exception."""
    trains = [t for p in pairs for t in (p.left, p.right)]
    names = list(values[0])
    table = np.array([[np.nan if isinstance(v[n], str) else v[n] for n in names] for v in values], dtype=np.float64)
    why = np.array([[v[n] if isinstance(v[n], str) else "" for n in names] for v in values])
    reasons = np.array(["", *EXCLUDED])
    codes = np.array([[list(reasons).index(w) for w in row] for row in why], dtype=np.int8)
    np.savez_compressed(
        path, ticks=np.concatenate(trains).astype(np.int32), lengths=np.array([len(t) for t in trains], dtype=np.int32),
        end=np.array([p.end for p in pairs]), kind=np.array([p.kind for p in pairs]), window_s=[p.window_s for p in pairs],
        cost_hz=[p.cost_hz for p in pairs], tau_s=[p.tau_s for p in pairs], bins=[p.bins for p in pairs],
        names=np.array(names), values=table, why=codes, reasons=reasons,
    )  # fmt: skip
    print(f"{path}: {len(pairs)} pairs, {sum(map(len, trains))} spikes, {path.stat().st_size / 1e3:.0f} kB")


def main() -> int:
    """The table; 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--golden", type=Path, help="write the values of the other programs to this file")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # elephant tells that it puts spikes on the edge of a bin into the later one
    pairs = draw(options.seed, options.pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # elephant warns of roots of small negative numbers, and of constant trains
        theirs = [others(pair) for pair in pairs]
    if options.golden:
        write_golden(options.golden, pairs, theirs)
        return 0
    mine = [ours(pair) for pair in pairs]
    failed = 0
    print(f"seed {options.seed}: {len(pairs)} pairs, {sum(len(p.left) + len(p.right) for p in pairs)} spikes")
    print(f"{'metric':<24}{'compared':>9}{'largest deviation':>20}  excluded")
    for metric in (*PAIRWISE, *SINGLE):
        keys = [k for k in theirs[0] if k.split(",")[0] == metric]
        rows = [(pair, k, own[k], other[k]) for pair, own, other in zip(pairs, mine, theirs, strict=True) for k in keys]
        skipped = Counter(other for *_, other in rows if isinstance(other, str))
        apart = [(deviation(metric, own, o), p.kind, k, own, o) for p, k, own, o in rows if not isinstance(o, str)]
        worst = max(apart)
        wrong = [a for a in apart if not a[0] <= LIMIT]
        numbers = [(p, k, own, o) for p, k, own, o in rows if isinstance(o, str) and "NaN" in EXCLUDED[o] and own == own]
        wrong += [(float("inf"), p.kind, k, own, float("nan")) for p, k, own, _ in numbers]
        failed += len(wrong)
        reasons = "; ".join(f"{n} ({EXCLUDED[why]})" for why, n in skipped.items()) or "-"
        squared = sum(metric == "van_rossum" and a[4] < SQUARED_BELOW for a in apart)
        reasons += f"; {squared} compared as squares" if squared else ""
        print(f"{metric:<24}{len(apart):>9}{worst[0]:>20.2e}  {reasons}")
        for distance, kind, key, own, other in sorted(wrong, reverse=True)[:5]:
            print(f"    {kind}: {key} {own!r}, theirs {other!r}, {distance:.2e} apart")
    print(f"{failed} values differ by more than {LIMIT:g}" if failed else f"all within {LIMIT:g}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
