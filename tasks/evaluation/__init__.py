"""Measuring a model against thresholds and the champion."""
