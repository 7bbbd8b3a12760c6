"""Writing a configuration to a backend, and proving by read-back that it arrived."""

from __future__ import annotations

from typing import Any

import numpy as np

from bcall_hw.backend import Backend
from bcall_hw.chip_config import KINDS, ChipConfig
from bcall_hw.chip_warnings import link_warnings
from bcall_hw.errors import BackendProblem


def deploy(config: ChipConfig, backend: Backend) -> dict[str, Any]:
    """Apply a configuration, read it back and compare word by word.

    Returns:
        Words written, words of each kind in the image, and hashes, as plain values.

    Raises:
        BackendProblem: the read-back differs; names how many words.
    """
    written = backend.apply(config)
    differing = backend.read_back().diff(config)
    if len(differing):
        first = (
            f"first: {KINDS[differing['kind'][0]]} word {int(differing['word'][0]):#010x} of chip {int(differing['chip'][0])}"
        )
        raise BackendProblem(
            "read-back differs from what was written", where=backend.name, used=f"{len(differing)} words", fix=first
        )
    words = config.words()
    counts = np.bincount(words["kind"], minlength=len(KINDS))
    return {
        "backend": backend.name,
        "chip": config.chip.name,
        "chips": list(config.chips),
        "words_written": written,
        "words": {kind: int(count) for kind, count in zip(KINDS, counts, strict=True)},
        "config_sha256": config.sha256,
        "cam_sha256": config.cam_sha256,
        "read_back_equal": True,
        "warnings": [*link_warnings(config), *backend.warnings],
    }
