"""Spot, on-demand, owned or pause: what checkpointed work runs on next, at least expected cost under its deadline."""
