"""Processes of this machine as an executor: one that dies takes its own job with it, and no other.

The pools of the standard library give all their jobs up when one worker dies, and do not tell which job it had.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, TypeVar

from bcall_hw.errors import InvalidValue

T = TypeVar("T")


class Processes(Executor):
    """A process for each of several threads; where one dies, its job fails with `BrokenProcessPool`, and a new one follows.

    Args:
        workers: how many; as many as there are processors if absent.
        at_most: no more than this are of use.

    Raises:
        InvalidValue: an impossible number of workers.
    """

    def __init__(self, workers: int | None = None, at_most: int | None = None) -> None:
        if workers is not None and (type(workers) is not int or workers < 1):
            raise InvalidValue("impossible number of workers", where="ensemble, workers", used=workers, limit="1 or more")
        every = workers or _processors()
        self._threads = ThreadPoolExecutor(max(1, every if at_most is None else min(every, at_most)))
        self._mine, self._lock = threading.local(), threading.Lock()
        self._all = set[_Worker]()
        self._ended = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call a function in the first process that is free; function, arguments and result are pickled."""
        return self._threads.submit(self._do, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the processes go when what was submitted is done."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            self.end()

    def end(self) -> None:
        """End the processes at once, whatever they do."""
        with self._lock:
            self._ended = True
            for worker in self._all:
                worker.end()
            self._all.clear()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """After an error nobody waits for what is under way."""
        if kind is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self.end()
        return super().__exit__(kind, problem, trace)

    def _do(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        call = pickle.dumps((fn, args, kwargs))
        worker: _Worker | None = getattr(self._mine, "worker", None)
        if worker is None or not worker.process.is_alive():
            worker = self._mine.worker = self._new(worker)
        answer = worker.ask(call)
        done, value, told = pickle.loads(answer)
        if not done:
            raise value from _Remote(told)
        found: T = value
        return found

    def _new(self, before: _Worker | None) -> _Worker:
        with self._lock:
            if self._ended:
                raise BrokenProcessPool("the processes were ended")
            if before is not None:
                self._all.discard(before)
                before.end()
            worker = _Worker()
            self._all.add(worker)
            return worker


class _Worker:
    """A process that does one job after another. Spawned: a fork would copy threads' locks in whatever state they are."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, call: bytes) -> bytes:
        """Answer to a call.

        Raises:
            BrokenProcessPool: the process ended, and how.
        """
        try:
            self._connection.send_bytes(call)
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            self.process.join(10)
            code = self.process.exitcode
            how = f"signal {-code} ({signal.Signals(-code).name})" if code is not None and code < 0 else f"exit code {code}"
            raise BrokenProcessPool(f"the worker process ended with {how}") from None

    def end(self) -> None:
        """End the process; the connection is closed by its reader, which sees the end."""
        self.process.kill()
        self.process.join(10)


class _Remote(Exception):
    """Where an error came from in another process."""


def _serve(connection: Connection) -> None:
    """Do jobs until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: the first one decides
    # One thread each: the processes fill the machine already. Before any job imports numba.
    os.environ["NUMBA_NUM_THREADS"] = "1"
    while True:
        try:
            call = connection.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            fn, args, kwargs = pickle.loads(call)
            answer = pickle.dumps((True, fn(*args, **kwargs), ""))
        except BaseException as problem:
            answer = _failure(problem)
        try:
            connection.send_bytes(answer)
        except OSError:
            return


def _failure(problem: BaseException) -> bytes:
    """The error, or one that says the same where it cannot be pickled."""
    told = "\n" + "".join(traceback.format_exception(type(problem), problem, problem.__traceback__))
    if isinstance(problem, Exception):
        try:
            answer = pickle.dumps((False, problem, told))
            pickle.loads(answer)
        except Exception:
            return pickle.dumps((False, RuntimeError(f"{type(problem).__name__}: {problem}"), told))
        return answer
    return pickle.dumps((False, RuntimeError(f"{type(problem).__name__}: {problem}"), told))  # SystemExit and the like


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
