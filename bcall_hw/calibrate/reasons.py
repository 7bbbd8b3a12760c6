"""A sentence for each reason, for people."""

from __future__ import annotations

from bcall_hw.failure_reasons import ExclusionReason, FailureReason

FAILED: dict[FailureReason, str] = {
    FailureReason.NONE: "calibrated: the held-out measurement lies within the tolerance",
    FailureReason.OUT_OF_RANGE: "no bias code gives the target on this core; choose a target within the core's range",
    FailureReason.NO_SPIKES: "the core's neurons did not fire; is the core dead, or do its spikes not arrive?",
    FailureReason.TOO_FEW_NEURONS: "fewer than half of the core's neurons work; leave the core out",
    FailureReason.TOO_NOISY: "the spikes scatter too much to tell the value; look for noise, or give a wider tolerance",
    FailureReason.DID_NOT_CONVERGE: "what was found is no value that this chip can have; measure again",
    FailureReason.HELD_OUT_MISSED: "the held-out measurement lies outside the tolerance",
    FailureReason.CODE_TOO_COARSE: "the nearest bias code is too far from the target; shift the target a little",
    FailureReason.BIAS_STUCK: "it, or the soma that it is measured through, did not move with its bias code: the bias is stuck",
    FailureReason.OVERLOAD: "the core fired too much and was silenced",
    FailureReason.BACKEND_ERROR: "the backend failed",
    FailureReason.DRIFT: "the core changed while it was calibrated; let it settle, and calibrate again",
    FailureReason.BUDGET: "no board time was left; go on with --resume and a larger --budget-s",
    FailureReason.UNOBSERVABLE: "spikes cannot show a target of this size (time constants of 2 to 400 ms and rises of 0.7 ms "
    "or more can be seen), or not as long as the soma's refractory period and leak are not known",
}

EXCLUDED: dict[ExclusionReason, str] = {
    ExclusionReason.DEAD: "never fires",
    ExclusionReason.SILENT: "does not fire where its neighbours do",
    ExclusionReason.HOT: "fires without input",
    ExclusionReason.OUTLIER: "differs from its core's median by more than a factor of three",
    ExclusionReason.UNMEASURED: "could not be measured",
    ExclusionReason.DESELECTED: "its rate is furthest off, and a share of the neurons was to be left out",
}
