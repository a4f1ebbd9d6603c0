"""Where a run goes, when, for how much, and why: ``decide(request, snapshot) -> Decision``."""
