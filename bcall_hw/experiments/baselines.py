"""What to compare an accuracy with: the majority class, and logistic regression on the same binarised pixels."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from bcall_hw.experiments.dataset import Dataset


def majority(data: Dataset) -> float:
    """Accuracy of always answering the most frequent training class."""
    most = int(np.bincount(data.train_labels).argmax())
    return float(np.mean(data.test_labels == most))


def logistic(data: Dataset) -> float | None:
    """Accuracy of logistic regression: stored for the digits, computed where scikit-learn is installed, else None."""
    if data.known_logistic is not None:
        return data.known_logistic
    return fit_logistic(data) if find_spec("sklearn") else None


def fit_logistic(data: Dataset) -> float:
    """Logistic regression on the same binarised images, fitted now (needs scikit-learn)."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=5000).fit(data.train.astype(np.float64), data.train_labels)
    return float(model.score(data.test.astype(np.float64), data.test_labels))
