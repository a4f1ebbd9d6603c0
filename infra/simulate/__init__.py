"""Trace-driven simulation that calls the production core: what a policy would have cost on recorded history."""
