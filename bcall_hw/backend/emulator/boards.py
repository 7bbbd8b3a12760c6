"""Many boards at once, in threads: the compiled kernel runs without Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import TypeVar

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.engine import StepReport
from bcall_hw.errors import InvalidValue
from bcall_hw.recording import SpikeRecording
from bcall_hw.stimulus import Stimulus

Report = Callable[[str, int, int], None]
T = TypeVar("T")


def run_boards(
    boards: Sequence[Emulator],
    stimulus: Stimulus | Sequence[Stimulus],
    duration_s: float,
    threads: int | None = None,
    report: Report | None = None,
) -> list[SpikeRecording]:
    """Run every board for the same time; each keeps its state, and gives what it would give alone, bit for bit.

    Args:
        boards: emulators with a configuration applied, each one of its own.
        stimulus: one for all, or one for each.
        threads: how many at once; None for as many as there are processors.
        report: called with (what, boards done, boards) as boards end.

    Returns:
        The recordings, in the order of the boards.

    Raises:
        InvalidValue: no threads, a board twice, or another number of stimuli than boards.
        BcallError: as `Emulator.run`, of the first board in order that failed; the others have run then.
    """
    if len({id(board) for board in boards}) != len(boards):
        raise InvalidValue("a board is there twice", where="boards", fix="Open one emulator for each board.")
    stimuli = [stimulus] * len(boards) if isinstance(stimulus, Stimulus) else list(stimulus)
    if len(stimuli) != len(boards):
        raise InvalidValue("not one stimulus for each board", where="boards", used=len(stimuli), limit=len(boards))
    jobs = [_job(board, played, duration_s) for board, played in zip(boards, stimuli, strict=True)]
    return in_threads(jobs, threads, report)


def _job(board: Emulator, stimulus: Stimulus, duration_s: float) -> Callable[[StepReport], SpikeRecording]:
    return lambda alive: board.run(stimulus, duration_s, alive)


def in_threads(jobs: Sequence[Callable[[StepReport], T]], threads: int | None, report: Report | None) -> list[T]:
    """Do jobs in threads; each gets a function to call from time to time, which ends it where the whole is broken off.

    Raises:
        InvalidValue: no threads.
    """
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InvalidValue("impossible number of threads", where="boards", used=threads, limit="1 or more")
    broken_off = Event()

    def alive(done: int, total: int) -> None:
        del done, total
        if broken_off.is_set():
            raise KeyboardInterrupt

    with ThreadPoolExecutor(min(threads or os.cpu_count() or 1, max(1, len(jobs)))) as pool:
        try:
            futures = [pool.submit(job, alive) for job in jobs]
            for done, _ in enumerate(as_completed(futures), start=1):
                if report:
                    report("boards", done, len(futures))
        except BaseException:
            broken_off.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        return [future.result() for future in futures]
