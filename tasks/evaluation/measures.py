"""How good a classifier is: accuracy, recall by class, macro-F1, calibration; and the gate that a model must pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from infra.core.errors import InputError
from infra.core.units import require_number

THRESHOLDS = ("accuracy", "macro_f1", "worst_recall", "calibration_error")
"""Names that a gate knows: all are least values but ``calibration_error``, which is the most that is allowed."""

_BINS = 10


@dataclass(frozen=True, slots=True)
class Measures:
    """Measured on held-out rows.

    Attributes:
        recall: By class, ``None`` where no held-out row has the class.
        confusion: Rows are true classes, columns predicted ones.
        calibration_error: Expected calibration error over ten equal bins of confidence: the mean over rows of the gap
            between confidence and accuracy in the row's bin.
    """

    rows: int
    accuracy: float
    macro_f1: float
    calibration_error: float
    recall: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def worst_recall(self) -> float:
        return min(value for value in self.recall if value is not None)


def measure(scores: np.ndarray, labels: np.ndarray) -> Measures:
    """Measure class probabilities ``[n, c] float32`` against labels ``[n] int64``; ``n`` is at least 1."""
    classes = scores.shape[1]
    predicted = scores.argmax(axis=1)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    hits, actual, claimed = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    present = (actual + claimed) > 0
    f1 = 2.0 * hits[present] / (actual + claimed)[present]
    confidence = scores[np.arange(len(labels)), predicted].astype(np.float64)
    correct = (predicted == labels).astype(np.float64)
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=_BINS)
    return Measures(
        rows=len(labels),
        accuracy=float(correct.mean()),
        macro_f1=float(f1.mean()),
        calibration_error=float(np.abs(gaps).sum() / len(labels)),
        recall=tuple(
            float(hit) / int(count) if count else None
            for hit, count in zip(hits.tolist(), actual.tolist(), strict=True)
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def check_thresholds(thresholds: dict[str, Any]) -> dict[str, float]:
    """Return the thresholds when all are known and sane.

    Raises:
        InputError: ``UNKNOWN_THRESHOLD`` or ``BAD_NUMBER``.
    """
    for name, value in thresholds.items():
        if name not in THRESHOLDS:
            raise InputError(
                "UNKNOWN_THRESHOLD", f"{name!r}", "evaluation parameters: thresholds", f"use {', '.join(THRESHOLDS)}"
            )
        require_number(value, f"evaluation parameters: thresholds: {name}")
    return {name: float(value) for name, value in thresholds.items()}


def gate(
    measures: Measures, thresholds: dict[str, float], champion: Measures | None, tolerance: float
) -> list[dict[str, Any]]:
    """Why the model does not pass, as codes with parameters; empty when it passes.

    Args:
        tolerance: By how much its accuracy may be below the champion's.
    """
    reasons: list[dict[str, Any]] = []
    for name in THRESHOLDS:
        if name not in thresholds:
            continue
        value, limit = getattr(measures, name), thresholds[name]
        if name == "calibration_error" and value > limit:
            reasons.append({"code": "ABOVE_THRESHOLD", "metric": name, "value": value, "limit": limit})
        if name != "calibration_error" and value < limit:
            reasons.append({"code": "BELOW_THRESHOLD", "metric": name, "value": value, "limit": limit})
    if champion is not None and measures.accuracy < champion.accuracy - tolerance:
        reasons.append(
            {
                "code": "WORSE_THAN_CHAMPION",
                "metric": "accuracy",
                "value": measures.accuracy,
                "limit": champion.accuracy - tolerance,
            }
        )
    return reasons
