"""Where training stands, and its bytes: safetensors with a JSON document inside, so that reading one runs no code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from infra.core.canonical import canonical

_FORMAT = 1


@dataclass(slots=True)
class TrainingState:
    """Everything that the next step depends on.

    Attributes:
        weights: ``[p] float32``.
        moment: Adam's first moment, ``[p] float32``.
        square: Adam's second moment, ``[p] float32``.
        steps: Steps taken; with the seed it gives the epoch and the place in it.
        loss_sum: Sum of the losses of the rows seen in the epoch under way.
        rows_seen: Rows seen in the epoch under way.
        curve: One entry a finished epoch: ``epoch``, ``train_loss``, ``holdout_accuracy``.
    """

    weights: np.ndarray
    moment: np.ndarray
    square: np.ndarray
    steps: int = 0
    loss_sum: float = 0.0
    rows_seen: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


def to_bytes(state: TrainingState, fingerprint: str) -> bytes:
    """The state as safetensors. ``fingerprint`` names the work that it belongs to."""
    document: dict[str, Any] = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "steps": state.steps,
        "loss_sum": state.loss_sum,
        "rows_seen": state.rows_seen,
        "curve": state.curve,
    }
    tensors = {"weights": state.weights, "moment": state.moment, "square": state.square}
    return save({**tensors, "document": np.frombuffer(canonical(document), dtype=np.uint8)})


def from_bytes(data: bytes, fingerprint: str, parameters: int) -> TrainingState | None:
    """The state in ``data``; ``None`` when it is of another work or format, or cannot be read."""
    try:
        tensors = load(data)
        document = json.loads(tensors["document"].tobytes())
        if (document["format"], document["fingerprint"]) != (_FORMAT, fingerprint):
            return None
        weights, moment, square = (tensors[name].copy() for name in ("weights", "moment", "square"))
        if any(vector.shape != (parameters,) or vector.dtype != np.float32 for vector in (weights, moment, square)):
            return None
        return TrainingState(
            weights,
            moment,
            square,
            steps=int(document["steps"]),
            loss_sum=float(document["loss_sum"]),
            rows_seen=int(document["rows_seen"]),
            curve=list(document["curve"]),
        )
    except (SafetensorError, KeyError, ValueError, TypeError):
        return None
