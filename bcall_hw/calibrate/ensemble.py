"""Many virtual boards at once, through any executor: processes of this machine, or a Dask cluster.

A board's truth, stimuli and noise follow from its seed, so a board that is done again, elsewhere, gives the same bits. Whoever
loses a worker therefore loses time alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from bcall_hw.calibrate.processes import Processes
from bcall_hw.calibrate.targets import Targets
from bcall_hw.calibration_parts import utc_time
from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.errors import BackendUnavailable, InvalidValue, JobFailed, JobLost

Report = Callable[[str, int, int], None]
T = TypeVar("T")

#: How long an address may take to answer (s).
_ANSWER_S = 5.0
#: What Dask raises where a worker, the scheduler or the way there was lost; no fault of the job's.
_LOST_IN_DASK = frozenset({"KilledWorker", "CommClosedError", "FutureCancelledError", "FuturesCancelledError"})


def ensemble(
    job: Callable[[int], T], seeds: Sequence[int], executor: Executor | None = None, workers: int | None = None,
    report: Report | None = None, attempts: int = 3,
) -> list[T]:  # fmt: skip
    """Do a job for every seed.

    Args:
        job: from a seed to its result; can be pickled, and gives the same for the same seed wherever it runs.
        seeds: each one once.
        executor: where to; processes of this machine if absent. It stays open. A process pool that breaks is left for
            processes of this function's own.
        workers: processes of this machine; as many as there are processors if absent.
        report: called with (what, seeds done, seeds) as seeds end.
        attempts: how often a seed is tried whose worker is lost.

    Returns:
        The results, in the order of the seeds.

    Raises:
        InvalidValue: a seed twice, no attempt, no worker.
        JobFailed: the job raised an error, which is the cause; names its seed.
        JobLost: a seed's worker was lost in every attempt.

    After an error, or Ctrl-C, seeds that have not begun are not done.
    """
    if len(set(seeds)) < len(seeds):
        twice = next(seed for seed in seeds if list(seeds).count(seed) > 1)
        raise InvalidValue("a seed is there twice", where="ensemble, seeds", used=twice, fix="Name each once.")
    if type(attempts) is not int or attempts < 1:
        raise InvalidValue("impossible number of attempts", where="ensemble, attempts", used=attempts, limit="1 or more")
    with ExitStack() as stack:
        if executor is None:
            executor = stack.enter_context(Processes(workers, at_most=len(seeds)))
        run = _Ensemble(job, list(seeds), executor, workers, attempts, stack, report)
        try:
            return run.results()
        except BaseException:
            for future in run.waiting:
                future.cancel()
            raise


@dataclass
class _Ensemble(Generic[T]):
    """What is done and under way."""

    job: Callable[[int], T]
    seeds: list[int]
    executor: Executor
    workers: int | None
    attempts: int
    stack: ExitStack
    report: Report | None
    done: dict[int, T] = field(default_factory=dict)
    tried: dict[int, int] = field(default_factory=dict)
    waiting: dict[Future[T], int] = field(default_factory=dict)

    def results(self) -> list[T]:
        """Submit, and take what comes."""
        for seed in self.seeds:
            self.submit(seed)
        while self.waiting:
            for future in wait(self.waiting, return_when=FIRST_COMPLETED).done:
                self.take(future, self.waiting.pop(future))
        return [self.done[seed] for seed in self.seeds]

    def submit(self, seed: int) -> None:
        """Try a seed, or once more."""
        self.tried[seed] = attempt = self.tried.get(seed, 0) + 1
        try:
            self.waiting[self.executor.submit(_call, self.job, seed, attempt)] = seed
        except BrokenProcessPool:  # broken for good, by a worker that another seed lost
            self.executor = self.stack.enter_context(Processes(self.workers, at_most=len(self.seeds) - len(self.done)))
            self.waiting[self.executor.submit(_call, self.job, seed, attempt)] = seed
        except Exception as problem:
            if not _is_lost(problem):
                raise
            self.again(seed, problem)

    def take(self, future: Future[T], seed: int) -> None:
        """The result of a seed, or another attempt where its worker was lost."""
        try:
            self.done[seed] = future.result()
        except Exception as problem:
            if not _is_lost(problem):
                used = f"{type(problem).__name__}: {problem}"
                raise JobFailed("the job raised an error", where=f"ensemble, seed {seed}", used=used) from problem
            self.again(seed, problem)
            return
        if self.report:
            self.report("boards", len(self.done), len(self.seeds))

    def again(self, seed: int, problem: Exception) -> None:
        """Another attempt, if one is left."""
        if self.tried[seed] >= self.attempts:
            what = f"its worker was lost in each of {self.attempts} attempts" if self.attempts > 1 else "its worker was lost"
            used, fix = f"{type(problem).__name__}: {problem}", "Look at the workers' memory and time limits, or run it alone."
            raise JobLost(what, where=f"ensemble, seed {seed}", used=used, fix=fix) from problem
        self.submit(seed)


def _call(job: Callable[[int], T], seed: int, attempt: int) -> T:
    """The job. The attempt is among the arguments because Dask takes calls with the same arguments for one."""
    del attempt
    return job(seed)


def _is_lost(problem: Exception) -> bool:
    if isinstance(problem, BrokenExecutor | CancelledError):
        return True
    return any(c.__name__ in _LOST_IN_DASK and c.__module__.split(".")[0] == "distributed" for c in type(problem).__mro__)


# Where to ------------------------------------------------------------------------------------------------------------


@contextmanager
def open_executor(scheduler: str | None, workers: int | None = None) -> Iterator[Executor]:
    """Processes of this machine, or the workers of a Dask scheduler.

    Args:
        scheduler: address of the scheduler, e.g. tcp://head:8786; None for processes.
        workers: how many processes; as many as there are processors if absent. With a scheduler: how many have to be there
            before this begins; it waits for none if absent.

    Raises:
        InvalidValue: an impossible number of workers.
        BackendUnavailable: Dask is not installed, nobody answers at the address, or too few workers are there.
    """
    if scheduler is None:
        with Processes(workers) as processes:
            yield processes
        return
    if workers is not None and (type(workers) is not int or workers < 1):
        raise InvalidValue("impossible number of workers", where="ensemble, workers", used=workers, limit="1 or more")
    try:
        from distributed import Client
    except ImportError as problem:
        fix = 'Install it with: pip install "bcall-hw[cluster]"'
        raise BackendUnavailable("Dask is not installed", where=f"scheduler {scheduler}", used=str(problem), fix=fix) from None
    try:
        # In a thread of its own: the caller's may run a loop already, as notebooks do.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _reach(scheduler)).result()
        client = Client(scheduler, timeout=_ANSWER_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError, asyncio.TimeoutError) as problem:
        used, fix = f"{type(problem).__name__}: {problem}"[:160], "Start one with `dask scheduler`; it prints its address."
        raise BackendUnavailable("no Dask scheduler answers", where=f"scheduler {scheduler}", used=used, fix=fix) from None
    with client:
        if workers is not None:
            try:
                client.wait_for_workers(workers, timeout=_ANSWER_S)
            except (TimeoutError, asyncio.TimeoutError):
                found, fix = len(client.nthreads()), f"Start more with `dask worker {scheduler}`."
                where = f"scheduler {scheduler}"
                raise BackendUnavailable("too few workers are there", where=where, used=found, limit=workers, fix=fix) from None
        yield client.get_executor(pure=False)


async def _reach(scheduler: str) -> None:
    """Connect, and let go. A client that reaches nobody leaves a thread and a lock behind that later clients can hang on."""
    from distributed.comm import connect
    from distributed.security import Security

    comm = await connect(scheduler, timeout=_ANSWER_S, **Security().get_connection_args("client"))
    await comm.close()


# What to do ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BoardOptions:
    """How virtual boards are calibrated.

    Attributes:
        date: of the records; given, so that they are the same bytes whenever and wherever they are made.
        targets: by seed; the shipped ones for seeds that are not there.
        cores: (chip id, core); all of the chips if absent.
        dt_us: time step of the emulator (us).
        budget_s: board time that each may use (s).
        keep: share of each core's neurons to keep.
    """

    date: str
    chip: str = DEFAULT_CHIP
    chips: tuple[int, ...] = (0, 1, 2, 3)
    cores: tuple[tuple[int, int], ...] | None = None
    dt_us: int = 50
    pulses: str = "ideal"
    targets: Mapping[int, Targets] = field(default_factory=dict)
    budget_s: float = 300.0
    keep: float = 1.0


def calibrated_board(seed: int, options: BoardOptions) -> dict[str, Any]:
    """Calibrate the board whose hidden truth a seed draws.

    Returns:
        Plain values, the same bits wherever it runs: seed, board, ok, board_s, measured, and record (None without one).
    """
    # Imported here: whoever only gives work out needs no compiled kernels.
    from bcall_hw.backend import open_backend
    from bcall_hw.backend.emulator.hidden import hidden_board
    from bcall_hw.calibrate.run import calibrate
    from bcall_hw.chip_model import load_chip

    chip = load_chip(options.chip)
    profile = hidden_board(chip, seed)
    backend = open_backend(
        "emulator", chip=chip, chips=options.chips, profile=profile, dt_us=options.dt_us, pulses=options.pulses
    )
    try:
        outcome = calibrate(
            backend, chip, cores=options.cores, targets=options.targets.get(seed), budget_s=options.budget_s,
            keep=options.keep, now=utc_time(options.date, "BoardOptions, date"),
        )  # fmt: skip
    finally:
        backend.close()
    return {
        "seed": seed, "board": profile.board, "ok": outcome.ok, "board_s": round(outcome.board_s, 6),
        "measured": [m.model_dump(mode="json") for m in outcome.measured],
        "record": None if outcome.record is None else outcome.record.model_dump(mode="json"),
    }  # fmt: skip


@dataclass(frozen=True)
class Timed(Generic[T]):
    """A job together with what it cost: (result, wall-clock seconds, processor seconds of its thread)."""

    job: Callable[[int], T]

    def __call__(self, seed: int) -> tuple[T, float, float]:
        """Do it."""
        wall, processor = time.perf_counter(), time.thread_time()
        result = self.job(seed)
        return result, time.perf_counter() - wall, time.thread_time() - processor
