"""Settings of the two variants, as tuned on a validation part of the training images (never on the held-out ones)."""

from __future__ import annotations

from bcall_hw.errors import UnknownName
from bcall_hw.experiments.classifier import ClassifierSettings
from bcall_hw.rule.parameters import RuleParameters

_TRIGGERED = ClassifierSettings()

VARIANTS = {
    "error-triggered": _TRIGGERED,
    # With every class learning from every image, nine neurons see a wrong image for each that sees its own: smaller
    # steps, and depression where the input is silent, keep the share of weights that are on in balance.
    "pure": ClassifierSettings(
        variant="pure",
        epochs=1,
        rule=RuleParameters(**_TRIGGERED.rule.model_dump() | {"c_p": 0.008, "c_d1": -0.0016, "c_d2": -0.006}),
    ),
}


def settings_for(variant: str) -> ClassifierSettings:
    """The tuned settings of a variant.

    Raises:
        UnknownName: with the known names.
    """
    if variant not in VARIANTS:
        raise UnknownName("no such variant", used=variant, fix=f"Known: {', '.join(VARIANTS)}")
    return VARIANTS[variant]
