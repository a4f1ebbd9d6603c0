"""What a drill reports: what was done to the platform, what was seen, how long it took, and whether the invariants held."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Invariant(StrEnum):
    """What must always hold."""

    RESIDENCY = "I1 residency"
    BUDGET = "I2 budget"
    ONCE = "I3 once"
    NO_LEAKS = "I4 no leaks"
    EXPLAINED = "I5 explained"
    DEGRADED = "I6 degraded, not down"


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether an invariant held, and by what that was seen."""

    invariant: Invariant
    held: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class RunSeen:
    """One run of a drill as its records tell it.

    Attributes:
        attempts: Of each attempt: site/offer and how it ended.
        charged_micro: What was settled in all.
    """

    name: str
    run_id: str
    state: str
    attempts: tuple[str, ...]
    charged_micro: int
    results: int


@dataclass(slots=True)
class DrillReport:
    """One drill.

    Attributes:
        injected: What was done, with seconds since the drill began.
        seen: What the platform did, likewise.
        detect_s: From the injection until the platform showed that it knew; ``None`` when nothing had to be detected.
        recover_s: From the injection until everything that the drill started had ended as it should.
        problem: Why the drill could not be finished; empty when it was.
    """

    name: str
    about: str
    injected: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    detect_s: float | None = None
    recover_s: float | None = None
    took_s: float = 0.0
    runs: list[RunSeen] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    problem: str = ""

    @property
    def passed(self) -> bool:
        return not self.problem and bool(self.findings) and all(finding.held for finding in self.findings)
