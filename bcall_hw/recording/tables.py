"""Sessions as plain tables for other programs: CSV and npz, there and back. Registers and stimuli stay in the HDF5 file."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw import files
from bcall_hw.errors import BcallError, CorruptFile, FileProblem, ForeignFile, InvalidValue
from bcall_hw.recording.layout import RUN_KINDS
from bcall_hw.recording.made import Made
from bcall_hw.recording.session import Run, Session
from bcall_hw.recording.spikes import ADDRESS_TOPS, NOTED, SPIKE_DTYPE, SpikeRecording

_FORMAT, _VERSION = "bcall_hw/spike_table", 1
_COLUMNS = ("run", "time_us", "chip", "core", "neuron")
ENDINGS = (".csv", ".npz")
#: Runs and length of one (us) that a table may tell; beyond, a number is taken for a mistake.
_MOST_RUNS, _LONGEST_US = 100_000, 10**15
#: The most that a file can say was lost.
_MOST_NOTED = 1 << 62


def write_table(session: Session, path: Path) -> None:
    """Spikes of all runs, with what is known of them.

    A CSV file begins with a line "# " and a JSON object, then has the columns run, time_us, chip, core, neuron; an npz file has
    the JSON text as `head` and each column as an array.

    Raises:
        FileProblem: it cannot be written, or has another ending.
    """
    _ending(path)
    spikes = [run.recording.spikes for run in session.runs]
    owner = np.repeat(np.arange(len(spikes)), [len(part) for part in spikes])
    every = np.concatenate([np.zeros(0, dtype=SPIKE_DTYPE), *spikes])
    columns: dict[str, npt.NDArray[Any]] = {"run": owner} | {name: every[name].astype(np.int64) for name in _COLUMNS[1:]}
    text = json.dumps(_head(session))
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, head=np.array(text), **columns)  # type: ignore[arg-type]
        files.write_bytes(path, buffer.getvalue())
        return
    lines = io.StringIO()
    lines.write(f"# {text}\n{','.join(_COLUMNS)}\n")
    np.savetxt(lines, np.column_stack([columns[name] for name in _COLUMNS]), fmt="%d", delimiter=",")
    files.write_text(path, lines.getvalue())


def read_table(path: Path, duration_s: float | None = None) -> Session:
    """A session from a table: of `write_table`, or a CSV of another program with at least time_us, chip, core and neuron.

    Args:
        duration_s: length of each run; needed where the file does not say it.

    Raises:
        FileProblem, CorruptFile, ForeignFile: missing, damaged, or something else.
        InvalidValue: the length is needed, or told twice.
    """
    _ending(path)
    head, columns = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
    try:
        return _session(head, columns, duration_s, path)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError) as problem:
        raise CorruptFile("is no table of spikes", where=str(path), used=str(problem)[:200]) from None


def _ending(path: Path) -> None:
    if path.suffix not in ENDINGS:
        raise FileProblem("tables of spikes are .csv or .npz files", where=str(path)[:200], used=path.suffix or "no ending")


def _head(session: Session) -> dict[str, Any]:
    runs = []
    for run in session.runs:
        noted, length_us = dict(run.recording.noted), run.recording.duration_us
        runs.append({"duration_us": length_us, "kind": run.kind, "complete": run.complete, "noted": noted})
    populations = {name: places.tolist() for name, places in session.populations.items()}
    made = session.made.model_dump(mode="json")
    return {
        "format": _FORMAT, "format_version": _VERSION, "made": made, "populations": populations, "runs": runs,
        "complete": session.complete,
    }  # fmt: skip


def _read_npz(path: Path) -> tuple[dict[str, Any] | None, dict[str, npt.NDArray[np.int64]]]:
    files.check_file(path)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            columns = {name: np.asarray(file[name], dtype=np.int64) for name in _COLUMNS}
            return _checked_head(json.loads(str(file["head"])), path), columns
    except BcallError:
        raise
    except Exception as problem:  # zipfile, zlib and numpy have errors of their own for damage, without a common root
        raise CorruptFile("is no table of spikes", where=str(path), used=str(problem)[:200]) from None


def _read_csv(path: Path) -> tuple[dict[str, Any] | None, dict[str, npt.NDArray[np.int64]]]:
    files.check_file(path)
    lines = files.read_text(path).splitlines()
    head = None
    if lines and lines[0].startswith("# {"):
        try:
            head = _checked_head(json.loads(lines[0][2:]), path)
        except (ValueError, RecursionError) as problem:
            raise CorruptFile("first line is no JSON", where=str(path), used=str(problem)[:200]) from None
    rows = [(number, line) for number, line in enumerate(lines, start=1) if line.strip() and not line.startswith("#")]
    names = [name.strip() for name in rows[0][1].split(",")] if rows else []
    lacking = [name for name in _COLUMNS[1:] if name not in names]
    if lacking:
        used, limit = rows[0][1][:80] if rows else "nothing", ",".join(_COLUMNS)
        raise CorruptFile(f"lacks the column {lacking[0]}", where=str(path), used=used, limit=limit)
    table = np.zeros((len(rows) - 1, len(names)), dtype=np.int64)
    for k, (number, line) in enumerate(rows[1:]):
        cells = line.split(",")
        try:
            table[k] = [int(cell) for cell in cells]
        except (ValueError, OverflowError):
            what = f"is not {len(names)} whole numbers"
            raise CorruptFile(what, where=f"{path} line {number}", used=line[:80]) from None
    columns = {name: table[:, names.index(name)] for name in _COLUMNS if name in names}
    return head, {"run": np.zeros(len(table), dtype=np.int64)} | columns


def _checked_head(head: Any, path: Path) -> dict[str, Any]:
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise ForeignFile("is no table of spikes of ours", where=str(path), limit=f'format "{_FORMAT}"')
    if head.get("format_version") != _VERSION:
        used = head.get("format_version")
        raise ForeignFile("has another format version", where=str(path), used=used, limit=_VERSION, fix="Update bcall-hw.")
    json.dumps(head, ensure_ascii=False).encode()  # half a character is a ValueError
    return head


def _session(
    head: dict[str, Any] | None, columns: Mapping[str, npt.NDArray[np.int64]], duration_s: float | None, path: Path
) -> Session:
    owner = columns["run"]
    if head is None:
        if duration_s is None:
            fix = "Give --duration-s."
            raise InvalidValue("does not say how long a run was", where=str(path), fix=fix)
        if not 0 < duration_s * 1e6 <= _LONGEST_US or round(duration_s * 1e6) < 1:
            limit = f"1e-6 to {_LONGEST_US / 1e6:g}"
            raise InvalidValue("impossible length of a run (s)", where="--duration-s", used=duration_s, limit=limit)
        duration_us = round(duration_s * 1e6)
        count = int(owner.max(initial=-1)) + 1
        if count > _MOST_RUNS:
            raise ValueError(f"run {count - 1}: more than {_MOST_RUNS:,} runs")
        told: list[dict[str, Any]] = [{"duration_us": duration_us}] * max(1, count)
        made, populations = Made(backend="unknown", source=path.name), {}
    else:
        if duration_s is not None:
            raise InvalidValue("the file says how long its runs were", where=str(path), used=f"{duration_s:g} s")
        told, made = head["runs"], Made(**head["made"])
        populations = {name: np.array(p, dtype=np.int64).reshape(-1, 3) for name, p in head["populations"].items()}
    if owner.size and not 0 <= owner.min() <= owner.max() < len(told):
        raise ValueError(f"run {int(owner.max())} is not among the {len(told)}")
    for name, top in zip(_COLUMNS[2:], ADDRESS_TOPS, strict=True):
        if columns[name].size and not 0 <= columns[name].min() <= columns[name].max() <= top:
            raise ValueError(f"{name} out of range: {int(columns[name].min())} to {int(columns[name].max())}")
    spikes = np.zeros(len(owner), dtype=SPIKE_DTYPE)
    for name in _COLUMNS[1:]:
        spikes[name] = columns[name]
    order = np.lexsort((spikes["neuron"], spikes["core"], spikes["chip"], spikes["time_us"], owner))
    spikes, cuts = spikes[order], np.searchsorted(owner[order], np.arange(len(told) + 1))
    runs = []
    for number, of_run in enumerate(told):
        mine, duration_us = spikes[cuts[number] : cuts[number + 1]].copy(), int(of_run["duration_us"])
        if not 1 <= duration_us <= _LONGEST_US or (
            len(mine) and not 0 <= mine["time_us"][0] <= mine["time_us"][-1] <= duration_us
        ):
            raise ValueError(f"run {number} has spikes outside its {duration_us} us")
        noted = {name: int(count) for name, count in of_run.get("noted", {}).items() if name in NOTED}
        if not all(0 <= count < _MOST_NOTED for count in noted.values()):
            raise ValueError(f"run {number} has impossible counts: {noted}")
        recording = SpikeRecording(mine, duration_us, made.backend, made.seed, made.version, made.board, noted)
        kind = of_run.get("kind", "run")
        runs.append(Run(recording, RUN_KINDS[RUN_KINDS.index(kind)], -1, -1, bool(of_run.get("complete", True))))
    steps = tuple(("run", number) for number in range(len(runs)))
    complete = head is None or bool(head.get("complete", True))
    return Session(made, None, populations, steps, tuple(runs), (), (), complete=complete)
