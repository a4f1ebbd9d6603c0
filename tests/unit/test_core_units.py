"""Money, time and numbers: conversions and refusals."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from infra.core.errors import InputError
from infra.core.units import (
    MAX_INSTANT_AT,
    charge,
    instant,
    iso,
    micro_from_usd,
    period_of,
    require_instant,
    require_number,
    usd,
    usd_float,
)


@pytest.mark.parametrize(
    ("value", "micro"),
    [
        (0, 0),
        ("1.84", 1_840_000),
        (0.1, 100_000),
        (Decimal("0.0000005"), 1),
        ("0.0000004", 0),
        ("1e3", 1_000_000_000),
        (1_000_000_000_000, 10**18),
    ],
)
def test_dollars_become_micro_dollars(value, micro):
    assert micro_from_usd(value) == micro


@pytest.mark.parametrize(
    "value", [-1, "-0.01", "NaN", math.nan, math.inf, "Infinity", "ten", "", None, True, [], "1e30", "1e400", 10**400]
)
def test_what_is_no_money_is_refused(value):
    with pytest.raises(InputError) as raised:
        micro_from_usd(value, "request: budget_usd")
    assert raised.value.code == "BAD_MONEY"
    assert raised.value.where == "request: budget_usd"
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("micro", "text"),
    [(0, "$0.00"), (1_840_000, "$1.84"), (12_300, "$0.0123"), (1, "$0.000001"), (-5_500_000, "-$5.50")],
)
def test_money_is_shown_with_the_digits_it_has(micro, text):
    assert usd(micro) == text
    assert usd_float(micro) == pytest.approx(micro / 1e6)


def test_a_charge_is_rounded_up():
    assert charge(3_600_000, 1.0) == 1000
    assert charge(1, 1.0) == 1
    assert charge(3_600_000, 1.0, 2.5) == 2500
    assert charge(3_600_000, 0.0) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, "1", None, True, 1.1e18, 10**400])
def test_bad_numbers(value):
    with pytest.raises(InputError, match="BAD_NUMBER"):
        require_number(value, "x")


def test_bounds_of_numbers():
    assert require_number(0, "x") == 0
    assert require_number(5, "x", minimum=5) == 5
    with pytest.raises(InputError, match="above 5"):
        require_number(5, "x", minimum=5, exclusive=True)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, MAX_INSTANT_AT * 1.01, "now", False])
def test_bad_instants(value):
    with pytest.raises(InputError, match="BAD_TIME"):
        require_instant(value, "x")


def test_every_instant_that_is_taken_can_be_shown():
    assert iso(require_instant(MAX_INSTANT_AT, "x")).startswith("5138-")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-24T14:20:00Z", "2026-11-24T14:20:00Z"),
        ("2026-11-24T14:20:00+01:00", "2026-11-24T13:20:00Z"),
        ("2026-11-24T14:20:00.250Z", "2026-11-24T14:20:00.250Z"),
    ],
)
def test_instants_come_back_in_utc(text, shown):
    assert iso(instant(text)) == shown


@pytest.mark.parametrize("text", ["2026-11-24T14:20:00", "tomorrow", "", None, 12])
def test_an_instant_needs_a_date_and_a_zone(text):
    with pytest.raises(InputError, match="BAD_TIME"):
        instant(text, "request: deadline")


def test_periods_are_months_in_utc():
    assert period_of(instant("2026-11-30T23:59:59Z")) == "2026-11"
    assert period_of(instant("2026-12-01T00:30:00+01:00")) == "2026-11"
    assert period_of(instant("2026-12-01T00:00:00Z")) == "2026-12"
