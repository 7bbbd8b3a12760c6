"""What is on the chip otherwise than the network asks: each departure is asked for, and told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Departure:
    """One way in which the mapped network differs from the one that was given.

    Attributes:
        kind: "sample", "relay", "trim", "untrimmed" or "second_leak".
        text: what it costs, in words.
        neurons: the neurons that it concerns.
    """

    kind: str
    text: str
    neurons: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return {"kind": self.kind, "text": self.text, "neurons": self.neurons}
