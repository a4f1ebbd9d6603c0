"""What a supervisor does next: events in, actions out. No process, file, socket or clock of its own.

A component waits for the milestones that it needs, starts, becomes ready (or, when it is a single task, done), and is
started again with a growing pause whenever it ends by itself. A component that does not become ready in time, or that
stops answering for long, is killed, and its end is then an event like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    BLOCKED = "blocked"
    """Not started: something that it needs is not there yet."""
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    """It ended by itself; the next start comes after a pause."""
    DONE = "done"
    """A single task that has succeeded."""
    REJECTED = "rejected"
    """A single task that ended with status 2: its input is wrong, and trying again would not help."""

    @property
    def settled(self) -> bool:
        """Whether `up` has nothing more to wait for."""
        return self in (Phase.READY, Phase.DONE)


class Verb(StrEnum):
    START = "start"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Action:
    verb: Verb
    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """How one component is treated.

    Attributes:
        needs: Names of components that must be ready, or milestones that must be reached, before its first moment
            counts; with ``eager`` it is started before (and waits by itself), which saves its import time.
        once: It is a task that ends, not a service.
        start_timeout_s: Time from having what it needs until it must be ready.
        silent_timeout_s: How long a ready one may fail its health check before it is killed.
    """

    needs: tuple[str, ...] = ()
    eager: bool = False
    once: bool = False
    start_timeout_s: float = 180.0
    silent_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses before a restart: doubling from ``first_s`` to ``most_s``, forgotten after ``steady_s`` of being ready."""

    first_s: float = 0.5
    most_s: float = 30.0
    steady_s: float = 60.0

    def pause_s(self, failures: int) -> float:
        """Pause before the next start after so many failures in a row (from 1)."""
        return min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 16))


@dataclass(slots=True)
class ComponentState:
    """Where one component is now. ``since`` is when it entered its phase."""

    phase: Phase = Phase.BLOCKED
    since: float = 0.0
    failures: int = 0
    restarts: int = 0
    retry_at: float = 0.0
    needs_met_at: float | None = None
    answered_at: float = 0.0
    last_status: int | None = None
    kill_sent: bool = False


@dataclass(slots=True)
class Supervision:
    """The state of all components; every method takes the present instant.

    Attributes:
        milestones: Named steps that a component reached on its way (the setup task makes the pools before it deploys).
    """

    lifecycles: dict[str, Lifecycle]
    backoff: Backoff = field(default_factory=Backoff)
    states: dict[str, ComponentState] = field(default_factory=dict)
    milestones: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name in self.lifecycles:
            self.states.setdefault(name, ComponentState())

    @property
    def reached(self) -> set[str]:
        """Everything that others may need: settled components and milestones."""
        return self.milestones | {name for name, state in self.states.items() if state.phase.settled}

    @property
    def complete(self) -> bool:
        return all(state.phase.settled for state in self.states.values())

    def next_actions(self, now: float) -> list[Action]:
        """Starts and kills that are due. Asking twice at one instant gives each action once."""
        actions: list[Action] = []
        for name, lifecycle in self.lifecycles.items():
            state = self.states[name]
            met = self.reached.issuperset(lifecycle.needs)
            if not met:
                state.needs_met_at = None
            elif state.needs_met_at is None:
                state.needs_met_at = now
            startable = state.phase is Phase.BLOCKED or (state.phase is Phase.BACKOFF and now >= state.retry_at)
            if startable and (met or lifecycle.eager):
                self._enter(name, Phase.STARTING, now)
                state.kill_sent = False
                actions.append(Action(Verb.START, name))
            elif reason := self._overdue(state, lifecycle, now):
                state.kill_sent = True
                actions.append(Action(Verb.KILL, name, reason))
        return actions

    def _overdue(self, state: ComponentState, lifecycle: Lifecycle, now: float) -> str:
        if state.kill_sent:
            return ""
        if state.phase is Phase.STARTING and state.needs_met_at is not None:
            begun = max(state.since, state.needs_met_at)
            if now - begun >= lifecycle.start_timeout_s:
                return f"not ready after {lifecycle.start_timeout_s:g} s"
        if state.phase is Phase.READY and now - state.answered_at >= lifecycle.silent_timeout_s:
            return f"no answer for {lifecycle.silent_timeout_s:g} s"
        return ""

    def ready(self, name: str, now: float) -> None:
        """The component's readiness check succeeded (again)."""
        state = self.states[name]
        state.answered_at = now
        if state.phase is Phase.STARTING and not self.lifecycles[name].once:
            self._enter(name, Phase.READY, now)
        elif state.phase is Phase.READY and now - state.since >= self.backoff.steady_s:
            state.failures = 0

    def ended(self, name: str, status: int, now: float) -> None:
        """The component's process ended with this status (negative: by that signal)."""
        state = self.states[name]
        state.last_status = status
        if self.lifecycles[name].once and status in (0, 2):
            self._enter(name, Phase.DONE if status == 0 else Phase.REJECTED, now)
            state.failures = 0 if status == 0 else state.failures + 1
            return
        if state.phase is Phase.READY and now - state.since >= self.backoff.steady_s:
            state.failures = 0
        state.failures += 1
        state.restarts += 1
        state.retry_at = now + self.backoff.pause_s(state.failures)
        self._enter(name, Phase.BACKOFF, now)

    def milestone(self, names: Iterable[str]) -> None:
        self.milestones.update(names)

    def wake_at(self, now: float) -> float:
        """When something may be due although nothing happens in between; infinity when nothing can be."""
        times = [state.retry_at for state in self.states.values() if state.phase is Phase.BACKOFF]
        for name, state in self.states.items():
            lifecycle = self.lifecycles[name]
            if state.kill_sent:
                continue
            if state.phase is Phase.STARTING and state.needs_met_at is not None:
                times.append(max(state.since, state.needs_met_at) + lifecycle.start_timeout_s)
            elif state.phase is Phase.READY:
                times.append(state.answered_at + lifecycle.silent_timeout_s)
        return max(now, min(times, default=float("inf")))

    def _enter(self, name: str, phase: Phase, now: float) -> None:
        state = self.states[name]
        state.phase, state.since = phase, now
