"""What every clock does."""

from __future__ import annotations

import pytest

from infra.adapters.clock import SystemClock
from infra.adapters.memory import FixedClock
from infra.core.errors import InputError
from infra.core.units import iso
from infra.ports import Clock


@pytest.mark.parametrize("clock", [SystemClock(), FixedClock()], ids=["system", "fixed"])
def test_now_is_epoch_seconds_that_do_not_run_backwards(clock: Clock) -> None:
    first, second = clock.now(), clock.now()
    assert isinstance(first, float)
    assert first <= second
    assert first > 1_700_000_000


def test_a_fixed_clock_stands_until_it_is_moved() -> None:
    clock = FixedClock()
    assert iso(clock.now()) == "2026-11-24T12:00:00Z"
    assert clock.advance(90.5) == clock.now()
    assert iso(clock.now()) == "2026-11-24T12:01:30.500Z"
    with pytest.raises(InputError):
        clock.advance(-1.0)
