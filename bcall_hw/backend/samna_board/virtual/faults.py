"""What can go wrong with a board, on purpose: for tests of the software that drives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw.errors import InvalidValue
from bcall_hw.recording import SPIKE_DTYPE

#: More than samna takes, and few enough for a second of them to fit into memory.
_MOST_HZ = 1e7
_HELP = "unplug@SECONDS, unplug@WORDSw, hang@SECONDS, hang@WORDSw, flood=HZ, drop, no-reset"


@dataclass(frozen=True)
class Faults:
    """What goes wrong; nothing by default.

    Attributes:
        unplug, hang: the board is pulled out, or answers no more, from this board time (us) on.
        unplug_words, hang_words: the same, from so many register words on.
        flood_hz: spikes that a broken core sends beside all others.
        drop: spikes of every second packet are lost on their way, as libcaer loses them when nobody reads.
        no_reset: the time stamps do not follow their reset.

    Raises:
        InvalidValue: a time or number below 0, or more spikes than fit.
    """

    unplug: int | None = None
    hang: int | None = None
    unplug_words: int | None = None
    hang_words: int | None = None
    flood_hz: float = 0.0
    drop: bool = False
    no_reset: bool = False

    def __post_init__(self) -> None:
        for name in ("unplug", "hang", "unplug_words", "hang_words"):
            value = getattr(self, name)
            if value is not None and value < 0:
                what = name.removesuffix("_words")
                raise InvalidValue("cannot lie before the start", where=f"fault {what}", used=value, limit="0 or more")
        if not 0 <= self.flood_hz <= _MOST_HZ:  # NaN is neither
            raise InvalidValue("impossible rate (Hz)", where="fault flood", used=self.flood_hz, limit=f"0 to {_MOST_HZ:g}")

    @classmethod
    def parse(cls, texts: list[str]) -> Faults:
        """Faults from words: see `_HELP`.

        Raises:
            InvalidValue: something else.
        """
        given: dict[str, Any] = {}
        for text in texts:
            name, at, value = text.partition("@")
            try:
                if at and name in ("unplug", "hang") and value.endswith("w"):
                    given[f"{name}_words"] = int(value[:-1])
                elif at and name in ("unplug", "hang"):
                    given[name] = round(float(value) * 1e6)
                elif text.startswith("flood="):
                    given["flood_hz"] = float(text[6:])
                elif text in ("drop", "no-reset"):
                    given[text.replace("-", "_")] = True
                else:
                    raise ValueError
            except (ValueError, OverflowError):
                raise InvalidValue("is no fault", where="--fault", used=text[:80], limit=_HELP) from None
        return cls(**given)

    def due(self, name: str, time_us: int, words: int) -> bool:
        """Whether "unplug" or "hang" has come."""
        at, after = getattr(self, name), getattr(self, f"{name}_words")
        return (at is not None and time_us >= at) or (after is not None and words >= after)

    def flooded(self, spikes: npt.NDArray[np.void], end_us: int, us: int, neurons: int) -> npt.NDArray[np.void]:
        """Spikes of a stretch of time that ends at `end_us`, with those of the broken core (chip 0, core 0)."""
        count = int(self.flood_hz * us * 1e-6)
        if not count:
            return spikes
        flood = np.zeros(count, dtype=SPIKE_DTYPE)
        flood["time_us"] = end_us - us + 1 + np.arange(count) * us // count
        flood["neuron"] = np.arange(count) % neurons
        both = np.concatenate([spikes, flood])
        return both[np.argsort(both["time_us"], kind="stable")]
