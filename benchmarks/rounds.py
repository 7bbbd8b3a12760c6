"""How a contender in an environment of its own answers; the standard library alone, since each has other packages."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any


def answer(run: Callable[[], dict[str, float]], about: dict[str, Any], rounds: int | None) -> None:
    """Print all rounds as one JSON line; or, without a number of rounds, one line when ready and one for each line `go`."""
    if rounds is not None:
        found = [run() for _ in range(rounds)]
        print(json.dumps({name: [one[name] for one in found] for name in ("seconds", "wall_seconds")} | about))
        return
    print(json.dumps({"ready": True} | about), flush=True)
    for _ in sys.stdin:
        print(json.dumps(run() | about), flush=True)
