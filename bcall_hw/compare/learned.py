"""Weights after learning, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bcall_hw.recording.session import Learned


def learned_rows(a: Mapping[str, Learned], b: Mapping[str, Learned]) -> tuple[dict[str, Any], ...]:
    """A row for each plastic connection that both sides have: binary efficacies and hidden weights after learning.

    `efficacies_that_differ` counts synapses, `hidden_rms` and `hidden_max` are differences of hidden weights in [0, 1], and
    `hidden_correlation` is Pearson's over all synapses (None where a side has no spread).
    """
    rows = []
    for name in a:
        if name not in b:
            continue
        one, two = a[name], b[name]
        if one.sources.shape != two.sources.shape or not np.array_equal(one.sources, two.sources):
            rows.append({"connection": name, "comparable": False, "why": "the sides learned other synapses"})
            continue
        used = one.sources >= 0
        hidden = (one.hidden[used], two.hidden[used])
        on = (one.efficacy[used], two.efficacy[used])
        spread = min(float(np.std(h)) for h in hidden) if used.any() else 0.0
        rows.append({
            "connection": name, "comparable": True, "synapses": int(used.sum()),
            "on_a": int(on[0].sum()), "on_b": int(on[1].sum()),
            "efficacies_that_differ": int(np.sum(on[0] != on[1])),
            "hidden_rms": float(np.sqrt(np.mean((hidden[0] - hidden[1]) ** 2))) if used.any() else 0.0,
            "hidden_max": float(np.abs(hidden[0] - hidden[1]).max(initial=0.0)),
            "hidden_correlation": float(np.corrcoef(*hidden)[0, 1]) if spread > 0 else None,
        })  # fmt: skip
    return tuple(rows)
