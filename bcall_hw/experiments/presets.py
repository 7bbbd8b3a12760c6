"""Settings of the two variants, as tuned on a validation part of the training images (never on the held-out ones)."""

from __future__ import annotations

from bcall_hw.errors import UnknownName
from bcall_hw.experiments.classifier import ClassifierSettings

VARIANTS = {
    "error-triggered": ClassifierSettings(),
    "pure": ClassifierSettings(variant="pure", epochs=1),
}


def settings_for(variant: str) -> ClassifierSettings:
    """The tuned settings of a variant.

    Raises:
        UnknownName: with the known names.
    """
    if variant not in VARIANTS:
        raise UnknownName("no such variant", used=variant, fix=f"Known: {', '.join(VARIANTS)}")
    return VARIANTS[variant]
