"""The prior on spells of spot capacity that all zones share."""

from __future__ import annotations

import math

from infra.core.spot.availability import SpellModel

POOLED = SpellModel(
    up=(-2.2784, -0.6301, -0.0333, -0.5813, 0.0112, 0.1323, -0.0148),
    down=(-2.3112, -0.6580, -0.0125, 0.0632, -0.5479, 0.0451, 0.2394),
    memory=0.8,
    typical_log_h=math.log(1.5),
)
"""Logistic regression on twelve availability traces of five AWS zones (October 2022, February and March 2023; K80 and V100,
one and eight to a machine), without any effect of a single zone. ``benchmarks/placement_spot.py --fit`` computes it."""
