"""Who runs the board's load: the emulator's implementations and the C yardstick here, others in processes of their own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

from bcall_hw.backend.emulator import step_numba, step_numpy
from bcall_hw.backend.emulator.array_engine import ArrayEngine
from bcall_hw.backend.emulator.engine import Engine
from bcall_hw.backend.emulator.machine import StepFunction
from bcall_hw.backend.emulator.reference_engine import ReferenceEngine
from benchmarks import c_reference
from benchmarks.board_load import Load

INTEGER = ("numba", "numpy", "c", "reference")


class Contender(Protocol):
    """One way to run the load."""

    def round(self) -> dict[str, Any]:
        """Run from the start; `seconds` of wall time, `spikes`, and of integer contenders the `hash` of spikes and state."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Ours:
    """A contender that runs the specification's integers, in this process."""

    def __init__(self, name: str, load: Load) -> None:
        self._name, self._load = name, load

    def _engine(self) -> Engine:
        load, chip = self._load, self._load.config.chip
        engine: Engine
        if self._name == "reference":
            engine = ReferenceEngine(chip, load.config.chips, load.profile, load.dt_us, False)
        else:
            engine = ArrayEngine(chip, load.config.chips, load.profile, load.dt_us, False, _step_function(self._name))
        engine.apply(load.config)
        return engine

    def round(self) -> dict[str, Any]:
        """See `Contender`: from a fresh board; applying the registers is not timed."""
        engine, seconds, digest, spikes = self._engine(), 0.0, hashlib.sha256(), 0
        for stimulus, steps in self._load.parts:
            started = time.perf_counter()
            found = engine.run(stimulus, steps)
            seconds += time.perf_counter() - started
            digest.update(found.tobytes())
            spikes += len(found)
        digest.update(engine.state().sha256.encode())
        return {"seconds": seconds, "spikes": spikes, "hash": digest.hexdigest()}

    def close(self) -> None:
        """Nothing to let go of."""


def _step_function(name: str) -> StepFunction:
    return {"numba": step_numba.advance, "numpy": step_numpy.advance, "c": c_reference.advance}[name]


class Other:
    """A script in an environment of its own, which answers each line `go` with one JSON line."""

    def __init__(self, python: str, script: str, load_file: Path, *options: str) -> None:
        command = [python, str(Path(__file__).with_name(script)), str(load_file), *options]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except OSError as problem:
            raise SystemExit(f"{python} cannot be run: {problem}") from None
        if self._process.stdin is None or self._process.stdout is None:
            raise SystemExit("no pipes to the contender")
        self._to, self._from = self._process.stdin, self._process.stdout
        self.about = self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._from.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self._process.args))} ended with code {self._process.wait()}")  # type: ignore[arg-type]
        return dict(json.loads(line))

    def round(self) -> dict[str, Any]:
        """See `Contender`; seconds as the script measures them, without building and set-up."""
        self._to.write("go\n")
        self._to.flush()
        answer = self._answer()
        return {"seconds": answer["wall_seconds"], "spikes": answer["spikes"]}

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
