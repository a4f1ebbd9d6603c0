"""Recorded runs decided again, in order of time, in a world that differs: what would have become of them."""
