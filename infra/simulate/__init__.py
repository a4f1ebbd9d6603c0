"""Simulation: replays traces through the same core code that production decides with."""
