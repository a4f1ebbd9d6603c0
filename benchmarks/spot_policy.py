"""The production spot policy as one callable, for simulators that know nothing of Headrace.

    decide = make_policy()
    decide(elapsed_h, progress_h, total_h, deadline_h, overhead_h, spot_available, current, price_spot, price_od, history)

Run as a program it prints how long a decision takes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from infra.core.spot.availability import Spell, SpellModel, learn, observe
from infra.core.spot.guard import Choice, Job, Standing
from infra.core.spot.model import POOLED
from infra.core.spot.policy import Zone, decide_spot

USUAL_TICK_H = 1 / 6
"""Taken for the tick when the history does not tell it and only one decision was asked for."""

RUNNING = {"spot": Choice.SPOT, "on_demand": Choice.ON_DEMAND, "on-demand": Choice.ON_DEMAND}


def make_policy(model: SpellModel = POOLED) -> Callable[..., str]:
    """A fresh callable that has learnt nothing yet; tables are shared with all others."""
    return Policy(model)


class Policy:
    """What was learnt of one zone's availability, between two decisions about a job."""

    def __init__(self, model: SpellModel) -> None:
        self._model = model
        self._spell: Spell | None = None
        self._elapsed_h = 0.0
        self._tick_h = 0.0
        self._choice = Choice.PAUSE
        self._pending_h = 0.0

    def __call__(
        self,
        elapsed_h: float,
        progress_h: float,
        total_h: float,
        deadline_h: float,
        overhead_h: float,
        spot_available: bool,
        current: str | None,
        price_spot: float,
        price_od: float,
        history: Sequence[Any],
    ) -> str:
        """Choose ``'spot'``, ``'on_demand'`` or ``'none'`` for the tick that begins now.

        Args:
            elapsed_h: Hours since the job's start.
            progress_h: Hours of work done.
            total_h: Hours of work in all.
            deadline_h: Hours after the start by which the work must be done.
            overhead_h: Hours that each start costs.
            spot_available: Whether spot capacity is obtainable in this tick.
            current: What runs after preemption: ``None``, ``'none'``, ``'spot'`` or ``'on_demand'``.
            price_spot: Price of an hour of spot.
            price_od: Price of an hour of on-demand.
            history: Availability, oldest first, this tick last. Attributes, each optional: ``tick_h``; ``pending_h``, the
                overhead that the present start has not paid; ``warm``, ticks before the job's start as a sequence (a number
                or a flag only says that the history holds them, which its length shows).
        """
        tick_h = self._tick(elapsed_h, history)
        available = bool(spot_available)
        spell = self._learn(elapsed_h, tick_h, available, history)
        running = RUNNING.get(str(getattr(current, "value", current)).lower(), Choice.PAUSE)
        if running is Choice.SPOT and not available:
            running = Choice.PAUSE
        pending_h = self._pending(running, elapsed_h, overhead_h, history)
        job = Job(total_h, deadline_h, overhead_h, tick_h)
        standing = Standing(elapsed_h, progress_h, running, "" if running is not Choice.SPOT else "zone", pending_h)
        decision = decide_spot(job, standing, (Zone("zone", spell, price_spot),), price_od, None, self._model)
        if decision.choice is not Choice.PAUSE:
            starts = decision.choice is not running
            self._pending_h = max(0.0, (overhead_h if starts else pending_h) - tick_h)
        self._spell, self._elapsed_h, self._tick_h, self._choice = spell, elapsed_h, tick_h, decision.choice
        return decision.choice.value

    def _tick(self, elapsed_h: float, history: Sequence[Any]) -> float:
        told = getattr(history, "tick_h", None)
        if told:
            return float(told)
        if self._spell is not None and elapsed_h > self._elapsed_h:
            return self._tick_h if self._tick_h else elapsed_h - self._elapsed_h
        return self._tick_h or USUAL_TICK_H

    def _learn(self, elapsed_h: float, tick_h: float, available: bool, history: Sequence[Any]) -> Spell:
        """The zone's spell with this tick; whatever came since the last decision is taken in first."""
        count = len(history)
        new = round((elapsed_h - self._elapsed_h) / tick_h)
        if self._spell is not None and 1 <= new <= max(1, count) and tick_h == self._tick_h:
            spell = self._spell
            for index in range(count - new, count - 1):
                spell = observe(self._model, spell, bool(history[index]), tick_h)
            return observe(self._model, spell, available, tick_h)
        past = [bool(history[index]) for index in range(count - 1)]
        warm = getattr(history, "warm", None)
        if isinstance(warm, Sequence) and not isinstance(warm, str | bytes) and count <= round(elapsed_h / tick_h) + 1:
            past = [*(bool(value) for value in warm), *past]
        return learn(self._model, [*past, available], tick_h)

    def _pending(self, running: Choice, elapsed_h: float, overhead_h: float, history: Sequence[Any]) -> float:
        """Overhead that the present start has not paid: what the history tells, else what follows from our own choices."""
        if running is Choice.PAUSE:
            return 0.0
        told = getattr(history, "pending_h", None)
        if told is not None:
            return min(max(0.0, float(told)), overhead_h)
        ours = self._spell is not None and self._choice is running and elapsed_h > self._elapsed_h
        return min(self._pending_h, overhead_h) if ours else overhead_h


class _History(list):  # type: ignore[type-arg]
    """A history with the attributes that simulators add."""

    def __init__(self, values: Sequence[bool], tick_h: float, pending_h: float) -> None:
        super().__init__(values)
        self.tick_h, self.pending_h = tick_h, pending_h


def _timed() -> None:
    """Print the time that decisions take, the table built before and apart."""
    for total_h, deadline_h, tick_h in (
        (48.0, 52.0, 1 / 6),
        (48.0, 92.0, 1 / 6),
        (48.0, 92.0, 195 / 3600),
        (12.0, 17.5, 195 / 3600),
    ):
        decide, taken, values = make_policy(), [], []
        for tick in range(200):
            values.append(tick // 7 % 3 != 0)
            history = _History(values, tick_h, 0.0)
            began = time.perf_counter()
            decide(tick * tick_h, 0.0, total_h, deadline_h, 0.2, values[-1], None, 0.318, 1.0, history)
            taken.append(time.perf_counter() - began)
        print(
            f"job {total_h:g} h, deadline {deadline_h:g} h, tick {tick_h * 3600:g} s: first {taken[0]:.2f} s, then median"
            f" {statistics.median(taken[1:]) * 1e6:.0f} µs, most {max(taken[1:]) * 1e6:.0f} µs"
        )


if __name__ == "__main__":
    _timed()
