"""Why a quantity of a core could not be calibrated: the words that records, reports and programs share."""

from __future__ import annotations

from enum import Enum


class FailureReason(str, Enum):
    """The reason of one quantity on one core; `NONE` where it was calibrated."""

    NONE = "none"
    OUT_OF_RANGE = "out_of_range"
    NO_SPIKES = "no_spikes"
    TOO_FEW_NEURONS = "too_few_neurons"
    TOO_NOISY = "too_noisy"
    DID_NOT_CONVERGE = "did_not_converge"
    HELD_OUT_MISSED = "held_out_missed"
    CODE_TOO_COARSE = "code_too_coarse"
    BIAS_STUCK = "bias_stuck"
    OVERLOAD = "overload"
    BACKEND_ERROR = "backend_error"
    DRIFT = "drift"
    BUDGET = "budget"
    UNOBSERVABLE = "unobservable"


class ExclusionReason(str, Enum):
    """Why a neuron is not to be used."""

    DEAD = "dead"
    SILENT = "silent"
    HOT = "hot"
    OUTLIER = "outlier"
    UNMEASURED = "unmeasured"
    DESELECTED = "deselected"
