"""Money, time and size, in the units that the whole of Headrace uses.

Money is an ``int`` of micro-dollars (1 USD = 1,000,000). Instants are ``float`` seconds since the Unix epoch
(UTC) and end in ``_at``; durations are ``float`` seconds and end in ``_s``. Sizes are ``int`` bytes.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from infra.core.errors import InputError

MICRO_PER_USD = 1_000_000
SECONDS_PER_HOUR = 3600.0
BYTES_PER_GB = 1_000_000_000
MAX_NUMBER = 1e18
"""The largest number that any field takes: a trillion dollars, an exabyte. Keeps all arithmetic finite."""
MAX_INSTANT_AT = 1e11
"""The latest instant that any field takes, in the year 5138: later ones have no calendar date to show."""


def micro_from_usd(value: str | int | float | Decimal, where: str = "money") -> int:
    """Return micro-dollars for an amount in dollars, rounded half up to the nearest micro-dollar.

    Raises:
        InputError: ``BAD_MONEY`` when the value is not a finite, non-negative number.
    """
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite() or not 0 <= amount <= Decimal(MAX_NUMBER) / MICRO_PER_USD:
        raise InputError(
            "BAD_MONEY",
            f"{value!r} is not an amount of money",
            where,
            "give a finite amount in USD that is 0 or more, at most a trillion",
        )
    return int((amount * MICRO_PER_USD).quantize(Decimal(1), rounding="ROUND_HALF_UP"))


def usd(micro: int) -> str:
    """Render micro-dollars as dollars: at least two decimals, more where the amount has them (``$0.0123``)."""
    sign = "-" if micro < 0 else ""
    whole, fraction = divmod(abs(micro), MICRO_PER_USD)
    digits = f"{fraction:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole}.{digits}"


def usd_float(micro: int) -> float:
    """Dollars as a float, for JSON that people read; accounts never use it."""
    return micro / MICRO_PER_USD


def charge(micro_per_hour: int, seconds: float, quantity: float = 1.0) -> int:
    """Price of ``quantity`` things for ``seconds``, rounded up so that no reservation falls short."""
    return math.ceil(micro_per_hour * quantity * seconds / SECONDS_PER_HOUR - 1e-9)


def require_number(value: float, where: str, *, minimum: float = 0.0, exclusive: bool = False) -> float:
    """Return ``value`` when it is finite and at least ``minimum`` (above it when ``exclusive``).

    Raises:
        InputError: ``BAD_NUMBER`` for NaN, infinities, non-numbers, values below the minimum or above ``MAX_NUMBER``.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # A NaN compares false with everything, so it is refused here too.
    if not number or not minimum <= value <= MAX_NUMBER or (exclusive and value == minimum):
        bound = f"{'above' if exclusive else 'at least'} {minimum:g} and at most {MAX_NUMBER:g}"
        raise InputError("BAD_NUMBER", f"{value!r} is not allowed", where, f"give a finite number {bound}")
    return value


def require_instant(value: float, where: str) -> float:
    """Return ``value`` when it is an instant that has a date: 0 to ``MAX_INSTANT_AT`` seconds since the epoch.

    Raises:
        InputError: ``BAD_TIME``.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0.0 <= value <= MAX_INSTANT_AT:
        raise InputError("BAD_TIME", f"{value!r} is not an instant", where, "give seconds since 1970, before year 5138")
    return value


def iso(at: float) -> str:
    """Render an instant as ISO 8601 in UTC, to the second where it is whole, else to the millisecond."""
    moment = datetime.fromtimestamp(at, UTC)
    precision = "seconds" if moment.microsecond == 0 else "milliseconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def instant(text: str, where: str = "time") -> float:
    """Parse an ISO 8601 instant with a time zone.

    Raises:
        InputError: ``BAD_TIME`` when the text is not ISO 8601 or names no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InputError(
            "BAD_TIME", f"{text!r} is not an instant", where, "write ISO 8601 with a zone, as 2026-11-24T14:20:00Z"
        )
    return moment.timestamp()


def period_of(at: float) -> str:
    """The budget period that an instant falls in: the calendar month in UTC, as ``2026-11``."""
    moment = datetime.fromtimestamp(at, UTC)  # strftime asks the locale, which takes several times as long
    return f"{moment.year:04}-{moment.month:02}"
