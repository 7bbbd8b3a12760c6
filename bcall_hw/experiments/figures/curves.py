"""What a figure is made of: named curves, and checks that say where their demand comes from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw import __version__

Report = Callable[[str, int, int], None]

#: Where the demand of a check comes from.
SHAPE = "shape in the caption"
CLOSED_FORM = "closed form"
FORMS = "the forms agree"
ANCHOR = "anchor of this project"
RULE = "the rule's own definition"
INFERRED = "inferred choice"


@dataclass(frozen=True)
class Curve:
    """A line of a figure.

    Attributes:
        name: "<check>/<form>", e.g. "stdp/fixed".
        x, y: its points.
        x_unit, y_unit: their units; "1" for numbers without one.
        sd: standard deviation of each point over repeats, where there are any.
    """

    name: str
    x: list[float]
    y: list[float]
    x_unit: str
    y_unit: str
    sd: list[float] | None = None

    @property
    def check(self) -> str:
        """The part of the name before the slash."""
        return self.name.split("/")[0]

    @property
    def form(self) -> str:
        """The part of the name behind the slash."""
        return self.name.split("/")[1]


def curve(
    name: str, x: npt.ArrayLike, x_unit: str, y: npt.ArrayLike, y_unit: str = "1", sd: npt.ArrayLike | None = None
) -> Curve:
    """A curve from arrays."""
    xs, ys = (np.asarray(v, dtype=np.float64).ravel().tolist() for v in (x, y))
    return Curve(name, xs, ys, x_unit, y_unit, None if sd is None else np.asarray(sd, dtype=np.float64).ravel().tolist())


@dataclass(frozen=True)
class Check:
    """One thing that is asked of a figure.

    Attributes:
        what: in words.
        wanted: what is asked, in words.
        found: what was found, in words.
        met: whether it holds; None where nothing can be asked (a preset for which no value is known, a missing circuit).
        origin: where the demand comes from, one of the constants above; an anchor is a number of this project's own that tells
            a change.
    """

    what: str
    wanted: str
    found: str
    met: bool | None
    origin: str


@dataclass
class FigureData:
    """The numbers of one figure.

    Attributes:
        figure: its name: 1 to 5, bistability, stop-learning.
        title: in words.
        preset: of the rule.
        notes: how it was made; every choice that is inferred here is named so.
        settings: what the numbers depend on (seed, board, trials).
    """

    figure: str
    title: str
    preset: str
    curves: list[Curve] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def curve(self, name: str) -> Curve:
        """The curve of that name (KeyError without it)."""
        for found in self.curves:
            if found.name == name:
                return found
        raise KeyError(name)

    def forms(self, check: str) -> list[Curve]:
        """All curves of one check."""
        return [c for c in self.curves if c.check == check]

    def has(self, name: str) -> bool:
        """Whether there is a curve of that name."""
        return any(found.name == name for found in self.curves)

    def deviation(
        self, name: str, reference: str, limit: float, origin: str, relative: bool = False, leave_out: Collection[float] = ()
    ) -> Check:
        """The largest difference between two curves on the same points.

        Args:
            limit: absolute, or relative to the reference.
            leave_out: points that are not compared (x).
        """
        found, wanted = self.curve(name), self.curve(reference)
        pairs = [(f, w) for x, f, w in zip(found.x, found.y, wanted.y, strict=True) if x not in leave_out]
        worst = max(abs(f - w) / (abs(w) if relative else 1.0) for f, w in pairs)
        words = (f"within {limit:.0%}", f"{worst:.2%}") if relative else (f"within {limit:.2g}", f"{worst:.2g}")
        left_out = [x for x in found.x if x in leave_out]
        missing = f", {len(pairs)} of {len(found.x)} points (near jumps: {', '.join(f'{x:g}' for x in left_out)})"
        what = f"{name} against {reference}" + (missing if left_out else "")
        return Check(what, words[0], words[1], worst <= limit, origin)

    def not_emulated(self, what: str) -> Check:
        """The check of a circuit that the chip cannot hold."""
        return Check(what, "a circuit", "the chip cannot hold it, see below", None, FORMS)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        curves = [{k: v for k, v in vars(c).items() if v is not None} for c in self.curves]
        return {
            "figure": self.figure, "title": self.title, "preset": self.preset, "curves": curves,
            "checks": [vars(c) for c in self.checks], "notes": self.notes, "settings": self.settings,
            "bcall_hw": __version__,
        }  # fmt: skip
