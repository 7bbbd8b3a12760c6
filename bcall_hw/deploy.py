"""Writing a configuration to a backend, and proving by read-back that it arrived."""

from __future__ import annotations

import hashlib
from typing import Any

from bcall_hw.backend import Backend
from bcall_hw.chip_config import KINDS, ChipConfig, words_by_kind
from bcall_hw.chip_warnings import link_warnings
from bcall_hw.errors import BackendProblem


def deploy(config: ChipConfig, backend: Backend) -> dict[str, Any]:
    """Apply a configuration, read it back and compare word by word.

    Returns:
        Words written and words of the whole image, of each kind, and hashes, as plain values.

    Raises:
        BackendProblem: the read-back differs; names how many words.
    """
    announced = backend.preview(config)
    written = backend.apply(config)
    differing = backend.read_back().diff(config)
    if len(differing):
        first = (
            f"first: {KINDS[differing['kind'][0]]} word {int(differing['word'][0]):#010x} of chip {int(differing['chip'][0])}"
        )
        raise BackendProblem(
            "read-back differs from what was written", where=backend.name, used=f"{len(differing)} words", fix=first
        )
    return {
        "backend": backend.name,
        "chip": config.chip.name,
        "chips": list(config.chips),
        "words_written": written,
        "written": words_by_kind(announced),
        "written_sha256": hashlib.sha256(announced.tobytes()).hexdigest(),
        "words": words_by_kind(config.words()),
        "config_sha256": config.sha256,
        "cam_sha256": config.cam_sha256,
        "read_back_equal": True,
        "warnings": [*link_warnings(config), *backend.warnings],
    }
