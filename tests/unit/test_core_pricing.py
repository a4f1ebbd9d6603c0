"""Prices and their windows."""

from __future__ import annotations

import math

import pytest

from infra.core.errors import InputError
from infra.core.pricing import Price, PriceWindow
from infra.core.units import instant

NOON = instant("2026-11-24T12:00:00Z")
HOUR_S = 3600.0
DAY = Price(1_000_000, windows=(PriceWindow(13 * 60, 15 * 60, 2.0),))
NIGHT = Price(1_000_000, windows=(PriceWindow(22 * 60, 6 * 60, 0.5),))


def test_a_flat_price():
    assert Price(3_600_000).cost(NOON, 1.0, 1) == 1000
    assert Price(3_600_000).cost(NOON, 1.0, 3) == 3000
    assert Price(0).cost(NOON, 1e6, 5) == 0
    assert Price(1).cost(NOON, 1.0, 1) == 1, "a fraction of a micro-dollar is rounded up"
    assert Price(5).cost(NOON, 0.0, 1) == 0


@pytest.mark.parametrize(
    ("price", "start_hours", "hours", "micro"),
    [
        (DAY, 0, 1, 1_000_000),
        (DAY, 1, 1, 2_000_000),
        (DAY, 0.5, 1, 1_500_000),
        (DAY, 0, 4, 6_000_000),
        (DAY, 0, 24, 26_000_000),
        (DAY, 0, 240, 260_000_000),
        (NIGHT, 10, 8, 4_000_000),
        (NIGHT, 9, 2, 1_500_000),
        (NIGHT, 0, 24, 20_000_000),
    ],
)
def test_windows_count_for_the_time_inside(price, start_hours, hours, micro):
    assert price.cost(NOON + start_hours * HOUR_S, hours * HOUR_S, 1) == micro


def test_edges_belong_to_what_starts_there():
    assert DAY.factor_at(NOON + HOUR_S) == 2.0
    assert DAY.factor_at(NOON + 3 * HOUR_S) == 1.0
    assert NIGHT.factor_at(NOON + 12 * HOUR_S) == 0.5


def test_the_first_of_overlapping_windows_counts():
    both = Price(1_000_000, windows=(PriceWindow(720, 780, 3.0), PriceWindow(700, 900, 0.1)))
    assert both.factor_at(NOON) == 3.0
    assert both.factor_at(NOON + HOUR_S) == 0.1


def test_next_change():
    assert DAY.next_change_at(NOON) == NOON + HOUR_S
    assert DAY.next_change_at(NOON + HOUR_S) == NOON + 3 * HOUR_S
    assert DAY.next_change_at(NOON + 3 * HOUR_S) == NOON + 25 * HOUR_S
    assert math.isinf(Price(1).next_change_at(NOON))


@pytest.mark.parametrize(("start", "end", "factor"), [(5, 5, 1.0), (-1, 5, 1.0), (5, 1440, 1.0)])
def test_bad_windows(start, end, factor):
    with pytest.raises(InputError, match="BAD_WINDOW"):
        PriceWindow(start, end, factor)


@pytest.mark.parametrize("factor", [-0.5, math.nan, math.inf])
def test_bad_factors(factor):
    with pytest.raises(InputError, match="BAD_NUMBER"):
        PriceWindow(0, 5, factor)


@pytest.mark.parametrize("micro", [-1, math.nan, math.inf])
def test_bad_prices(micro):
    with pytest.raises(InputError, match="BAD_NUMBER"):
        Price(micro)


@pytest.mark.parametrize("seconds", [600.0, 5 * HOUR_S, 11 * HOUR_S, 30 * HOUR_S])
@pytest.mark.parametrize("latest_h", [0.0, 1.0, 7.0, 24.0, math.inf])
def test_the_least_of_all_starts_is_found_at_the_edges(seconds, latest_h):
    """No start of every minute is cheaper, and one of them is as cheap but for a minute."""
    both = Price(1_000_000, windows=(PriceWindow(22 * 60, 6 * 60, 0.5), PriceWindow(13 * 60, 15 * 60, 2.0)))
    for price in (DAY, NIGHT, both):
        for begin_at in (NOON, NOON + 5.3 * HOUR_S, NOON + 13.9 * HOUR_S):
            least_s = price.least_base_s(seconds, begin_at, begin_at + latest_h * HOUR_S)
            minutes = range(int(min(latest_h, 24.0) * 60) + 1)
            tried_s = min(price.base_s(begin_at + 60.0 * minute, seconds) for minute in minutes)
            assert least_s <= tried_s + 1e-6
            assert least_s >= tried_s - 60.0
    assert Price(5).least_base_s(seconds, NOON) == seconds
