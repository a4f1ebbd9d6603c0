"""Drills: a platform of its own is hurt on purpose, and what it did about it is measured and held against the invariants."""
