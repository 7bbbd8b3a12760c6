"""Ensembles of virtual boards: order, lost workers, errors that name their seed, processes and Dask."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from bcall_hw import random_bits
from bcall_hw.calibrate.ensemble import BoardOptions, Timed, calibrated_board, ensemble, open_executor
from bcall_hw.calibrate.processes import Processes
from bcall_hw.calibrate.targets import Targets
from bcall_hw.errors import BackendUnavailable, InvalidValue, JobFailed, JobLost

SEEDS = [7, 3, 11, 0, 5, 2]


def cheap(seed: int) -> tuple[int, list[float]]:
    return seed, random_bits.uniform(seed, "test", 4).tolist()


def slow_first(seed: int) -> tuple[int, list[float]]:
    time.sleep(0.4 if seed == SEEDS[0] else 0.0)
    return cheap(seed)


@dataclass(frozen=True)
class Deadly:
    """The worker of some seeds dies, as often as asked; each death leaves a mark."""

    folder: Path
    seeds: tuple[int, ...]
    times: int = 1

    def __call__(self, seed: int) -> tuple[int, list[float]]:
        (self.folder / f"begun-{seed}-{time.monotonic_ns()}").touch()
        if seed in self.seeds and len(list(self.folder.glob(f"died-{seed}-*"))) < self.times:
            (self.folder / f"died-{seed}-{time.monotonic_ns()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return cheap(seed)

    def begun(self, seed: int) -> int:
        return len(list(self.folder.glob(f"begun-{seed}-*")))


def fails_at_three(seed: int) -> int:
    if seed == 3:
        raise InvalidValue("no such board", where="test", used=seed)
    return seed


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fails_oddly(seed: int) -> int:
    raise Unpicklable(seed, seed)


def leaves(seed: int) -> int:
    os._exit(seed)


def about_threads(seed: int) -> str | None:
    del seed
    return os.environ.get("NUMBA_NUM_THREADS")


SERIAL = [cheap(seed) for seed in SEEDS]

# Processes of this machine -------------------------------------------------------------------------------------------------


def test_results_are_the_serial_ones_in_the_order_of_the_seeds() -> None:
    seen: list[tuple[str, int, int]] = []
    found = ensemble(slow_first, SEEDS, workers=2, report=lambda *said: seen.append(said))
    assert found == SERIAL
    assert pickle.dumps(found) == pickle.dumps(SERIAL)
    assert seen == [("boards", n + 1, len(SEEDS)) for n in range(len(SEEDS))]


def test_no_seeds_no_work() -> None:
    assert ensemble(cheap, []) == []


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, Processes])
def test_any_executor_stays_open(pool: type[Executor]) -> None:
    with pool(2) as executor:  # type: ignore[call-arg]
        assert ensemble(cheap, SEEDS, executor) == SERIAL
        assert ensemble(cheap, SEEDS[:2], executor) == SERIAL[:2]


def test_a_worker_has_one_thread_of_numba() -> None:
    assert ensemble(about_threads, [0], workers=1) == ["1"]


def test_a_lost_workers_seed_alone_is_done_again(tmp_path: Path) -> None:
    job = Deadly(tmp_path, (11, 2))
    assert ensemble(job, SEEDS, workers=2) == SERIAL
    assert [job.begun(seed) for seed in SEEDS] == [2 if seed in (11, 2) else 1 for seed in SEEDS]


def test_a_worker_that_dies_while_it_rests_costs_no_attempt() -> None:
    with Processes(1) as executor:
        pid = executor.submit(os.getpid).result()
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        assert ensemble(cheap, SEEDS, executor, attempts=1) == SERIAL


def test_a_broken_pool_of_the_caller_is_replaced(tmp_path: Path) -> None:
    job = Deadly(tmp_path, (11,))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert ensemble(job, SEEDS, pool, workers=2) == SERIAL


def test_attempts_run_out_and_the_guilty_seed_is_named(tmp_path: Path) -> None:
    job = Deadly(tmp_path, (5,), times=99)
    with pytest.raises(JobLost, match=r"seed 5: its worker was lost in each of 3 attempts.*SIGKILL"):
        ensemble(job, SEEDS, workers=2)
    assert job.begun(5) == 3


def test_one_attempt_and_an_exit_code() -> None:
    with pytest.raises(JobLost, match=r"seed 4: its worker was lost .*exit code 4") as caught:
        ensemble(leaves, [4], workers=1, attempts=1)
    assert json.loads(json.dumps(caught.value.as_dict()))["error"] == "JobLost"


def test_an_error_names_its_seed_and_keeps_its_cause() -> None:
    with pytest.raises(JobFailed, match=r"seed 3: .*InvalidValue: test: no such board") as caught:
        ensemble(fails_at_three, SEEDS, workers=2)
    cause = caught.value.__cause__
    assert isinstance(cause, InvalidValue)
    assert (cause.used, cause.where) == (3, "test")
    assert "fails_at_three" in str(cause.__cause__)  # where in the worker


def test_an_error_that_cannot_be_pickled_is_told() -> None:
    with pytest.raises(JobFailed, match=r"seed 8: .*Unpicklable: 8 and 8"):
        ensemble(fails_oddly, [8], workers=1)


def test_a_job_that_cannot_be_pickled_is_told() -> None:
    with pytest.raises(JobFailed, match=r"seed 1: "):
        ensemble(lambda seed: seed, [1], workers=1)


def test_after_an_error_nothing_more_begins() -> None:
    begun: list[int] = []
    held = threading.Event()

    def job(seed: int) -> int:
        begun.append(seed)
        if seed == 0:
            raise ValueError("first")
        held.wait(10)
        return seed

    with ThreadPoolExecutor(1) as pool:
        threading.Timer(0.5, held.set).start()
        with pytest.raises(JobFailed, match=r"seed 0"):
            ensemble(job, range(20), pool)
    assert len(begun) <= 2


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"seeds": [1, 2, 1]}, "seed is there twice .got 1"),
        ({"attempts": 0}, "attempts"),
        ({"workers": 0}, "workers"),
        ({"workers": True}, "workers"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidValue, match=names):
        ensemble(cheap, **{"seeds": [1], **given})


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
from bcall_hw.calibrate.ensemble import ensemble

def job(seed):
    Path(sys.argv[1], str(seed)).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    def stop():
        while len(list(Path(sys.argv[1]).iterdir())) < 2:
            time.sleep(0.05)
        os.killpg(0, signal.SIGINT)
    threading.Thread(target=stop, daemon=True).start()
    try:
        ensemble(job, range(10), workers=2)
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_ctrl_c_ends_what_runs_and_begins_nothing(tmp_path: Path) -> None:
    marks, script = tmp_path / "marks", tmp_path / "script.py"
    marks.mkdir()
    script.write_text(INTERRUPTED)
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(script), str(marks)], capture_output=True, text=True, timeout=50, check=False,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores Ctrl-C for its children
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
    assert time.monotonic() - begin < 45
    begun = list(marks.iterdir())
    assert len(begun) == 2
    for mark in begun:
        with pytest.raises(ProcessLookupError):
            os.kill(int(mark.read_text()), 0)


# The job --------------------------------------------------------------------------------------------------------------


def test_the_boards_job_can_be_sent_and_fails_by_its_seed() -> None:
    job = Timed(partial(calibrated_board, options=BoardOptions(date="never", targets={3: Targets.load()}, chips=(0,))))
    again = pickle.loads(pickle.dumps(job))
    assert again.job.keywords == job.job.keywords  # type: ignore[attr-defined]
    with pytest.raises(JobFailed, match=r"seed 3.*no such time"):
        ensemble(again, [3], ThreadPoolExecutor(1))


def test_a_board_without_board_time_gives_plain_values() -> None:
    options = BoardOptions(date="2026-01-01T00:00:00Z", chips=(0,), cores=((0, 0),), budget_s=0.05)
    found, wall, processor = Timed(partial(calibrated_board, options=options))(4)
    assert json.loads(json.dumps(found)) == found
    assert (found["seed"], found["ok"], found["record"]) == (4, False, None)
    assert {m["reason"] for m in found["measured"]} == {"budget"}
    assert wall > 0
    assert processor > 0


# Executors by address ---------------------------------------------------------------------------------------------------


def test_no_scheduler_means_processes() -> None:
    with open_executor(None, 1) as executor:
        assert ensemble(cheap, SEEDS, executor) == SERIAL


def test_without_dask_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(BackendUnavailable, match=r"Dask is not installed.*bcall-hw\[cluster\]"),
        open_executor("tcp://x:1", None),
    ):
        pass


with_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="needs dask[distributed], the extra [cluster]"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two worker processes on this machine."""
    from distributed import LocalCluster

    made = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1")
    with made:
        yield made


@with_dask
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("allowed", [3, 0])  # deaths after which Dask itself gives a task up
def test_a_cluster_gives_the_serial_results_though_a_worker_dies(cluster: Any, tmp_path: Path, allowed: int) -> None:
    job = Deadly(tmp_path, (11,))
    cluster.scheduler.allowed_failures = allowed
    with open_executor(cluster.scheduler_address) as executor:
        found = ensemble(job, SEEDS, executor)
    assert pickle.dumps(found) == pickle.dumps(SERIAL)
    assert len(list(tmp_path.glob("died-11-*"))) == 1


@with_dask
@pytest.mark.filterwarnings("default")
def test_a_clusters_errors_name_their_seed(cluster: Any, tmp_path: Path) -> None:
    cluster.scheduler.allowed_failures = 0
    job = Deadly(tmp_path, (5,), times=99)
    with open_executor(cluster.scheduler_address) as executor:
        with pytest.raises(JobFailed, match=r"seed 3: .*no such board"):
            ensemble(fails_at_three, SEEDS, executor)
        with pytest.raises(JobLost, match=r"seed 5: its worker was lost in each of 2 attempts.*KilledWorker"):
            ensemble(job, [5], executor, attempts=2)
    assert job.begun(5) == 2


@with_dask
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "no address"])
def test_an_address_where_nobody_answers(address: str) -> None:
    begin = time.monotonic()
    with pytest.raises(BackendUnavailable, match="no Dask scheduler answers"), open_executor(address):
        pass
    assert time.monotonic() - begin < 30


@with_dask
@pytest.mark.filterwarnings("default")
def test_too_few_workers(cluster: Any) -> None:
    with (
        pytest.raises(
            BackendUnavailable, match=r"too few workers are there .got [0-2], limit 50"
        ),  # one that was killed may not be back yet
        open_executor(cluster.scheduler_address, 50),
    ):
        pass
