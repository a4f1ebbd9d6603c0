"""The prior of the spot policy, computed from traces: two logistic regressions on when spells end."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from infra.core.spot.availability import BASE_STEP_H, SpellModel, first_spell, observe
from infra.documents.spot_trace import SpotTrace

MEMORY = 0.8
TYPICAL_LOG_H = math.log(1.5)
SHRINKAGE = 2.0
"""Weight of the penalty on squared coefficients, in observations."""


def fit_model(traces: Sequence[SpotTrace]) -> SpellModel:
    """The model under which the ends of the traces' spells are likeliest.

    Ticks shorter than the base step are taken at that distance, from each offset, with a weight of one over their number.
    """
    blank = SpellModel((0.0,) * 7, (0.0,) * 7, MEMORY, TYPICAL_LOG_H)
    rows: list[np.ndarray] = []
    for trace in traces:
        stride = max(1, round(BASE_STEP_H / trace.tick_h))
        features = _features(blank, trace)
        flags = np.array(trace.available)
        ended = (flags[stride:] != flags[:-stride]).astype(float)
        weight = np.full(len(ended), 1.0 / stride)
        rows.append(np.column_stack([features[: len(ended)], flags[: len(ended)], ended, weight]))
    table = np.concatenate(rows)
    up, down = (_regress(table[table[:, 7] == kind]) for kind in (1.0, 0.0))
    return SpellModel(up, down, MEMORY, TYPICAL_LOG_H)


def _features(model: SpellModel, trace: SpotTrace) -> np.ndarray:
    """``[ticks, 7] float64``: what the coefficients of ``SpellModel`` belong to, in its order."""
    spell = first_spell(model, trace.available[0], trace.tick_h)
    rows = np.empty((len(trace.available), 3))
    for tick, available in enumerate(trace.available):
        if tick:
            spell = observe(model, spell, available, trace.tick_h)
        rows[tick] = math.log(spell.age_h), spell.up_log_h, spell.down_log_h
    age, up, down = rows.T
    return np.column_stack([np.ones(len(rows)), age, age * age, up, down, age * up, age * down])


def _regress(table: np.ndarray) -> tuple[float, ...]:
    """Logistic regression by Newton's method, coefficients but for the constant shrunk towards 0."""
    features, ended, weight = table[:, :7], table[:, 8], table[:, 9]
    penalty = np.diag([1e-6] + [SHRINKAGE] * 6)
    found = np.zeros(7)
    for _ in range(30):
        chance = 1.0 / (1.0 + np.exp(-np.clip(features @ found, -50.0, 50.0)))
        curvature = (features * (weight * chance * (1.0 - chance) + 1e-9)[:, None]).T @ features + penalty
        found = found + np.linalg.solve(curvature, features.T @ (weight * (ended - chance)) - penalty @ found)
    return tuple(round(float(value), 4) for value in found)
