"""What every control-plane store refuses, and with which words.

The in-memory and the SQL adapter share these checks and errors, so that a caller sees the same codes from both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields

from infra.core.budget import Balance, EntryKind
from infra.core.errors import BudgetError, ConflictError, InputError
from infra.core.lifecycle import AttemptState, RunState
from infra.core.placement.decision import CostParts
from infra.core.units import require_number, usd
from infra.core.workload import WorkKind
from infra.ports import AttemptRecord, LedgerEntry, Observation, Publication, RunRecord

LARGEST_MICRO = 2**53
"""Largest amount that an account holds: about nine billion dollars, exact in every database and in JSON."""

HOLDING = (AttemptState.RESERVED, AttemptState.DISPATCHED)
"""States in which an attempt holds devices."""

CLOSED = (AttemptState.SETTLED, AttemptState.EXPIRED)
"""States in which an attempt's money is settled."""

SHORTEST_PREFIX = 8
"""A run may be named by this many first characters of its id, or more."""

CHANGEABLE = frozenset(
    {"child_run_id", "started_at", "expected_finish_at", "finished_at", "metered", "charged", "ending"}
)
"""Fields of an attempt that :meth:`RunStore.update_attempt` may set."""


def work_of(request_json: str) -> tuple[WorkKind, float]:
    """Kind and units of a request in canonical JSON."""
    request = json.loads(request_json)
    return WorkKind(request["kind"]), float(request["units"])


def attempt_name(run_id: str, attempt: int) -> str:
    return f"run {run_id}, attempt {attempt}"


def require_micro(amount_micro: int, where: str) -> int:
    """Return the amount when it is a whole, non-negative number of micro-dollars that an account can hold.

    Raises:
        InputError: ``BAD_MONEY``.
    """
    whole = isinstance(amount_micro, int) and not isinstance(amount_micro, bool)
    if not whole or not 0 <= amount_micro <= LARGEST_MICRO:
        raise InputError(
            "BAD_MONEY", f"{amount_micro!r} is not an amount of money", where, f"use 0 to {LARGEST_MICRO} micro-dollars"
        )
    return amount_micro


def require_parts(parts: CostParts, where: str) -> CostParts:
    """As :func:`require_micro`, for every part and their sum."""
    for field in fields(parts):
        require_micro(getattr(parts, field.name), f"{where}: {field.name}")
    require_micro(parts.total_micro, where)
    return parts


def require_account(tenant: str, period: str) -> None:
    """Refuse an account without a name.

    Raises:
        InputError: ``NO_ACCOUNT_NAME``.
    """
    if not tenant or not period:
        raise InputError("NO_ACCOUNT_NAME", "an account needs a tenant and a period", "ledger", "name both")


def unknown_tenant(tenant: str, period: str) -> InputError:
    return InputError(
        "UNKNOWN_TENANT",
        f"tenant {tenant!r} has no account for {period}",
        f"ledger account {tenant}/{period}",
        f"open it: headrace budget set {tenant} USD --period {period}",
    )


def over_budget(balance: Balance, amount_micro: int) -> BudgetError:
    return BudgetError(
        "BUDGET_EXCEEDED",
        f"{usd(amount_micro)} do not fit: {usd(balance.available_micro)} of {usd(balance.limit_micro)} are free",
        f"ledger account {balance.tenant}/{balance.period}",
        "wait for reservations to be settled, ask for less, or raise the budget",
    )


def limit_below_committed(balance: Balance, limit_micro: int) -> BudgetError:
    committed = usd(balance.settled_micro + balance.reserved_micro)
    return BudgetError(
        "LIMIT_BELOW_COMMITTED",
        f"{committed} are settled or reserved, more than the new limit {usd(limit_micro)}",
        f"ledger account {balance.tenant}/{balance.period}",
        f"choose at least {committed}",
    )


def unknown_reservation(run_id: str, attempt: int) -> InputError:
    return InputError(
        "UNKNOWN_RESERVATION", "nothing was reserved for it", attempt_name(run_id, attempt), "reserve first"
    )


def already_reserved(before: LedgerEntry, tenant: str, period: str, amount_micro: int) -> ConflictError | None:
    """The error of reserving again, or ``None`` when it is the same reservation."""
    if (before.tenant, before.period, before.amount_micro) == (tenant, period, amount_micro):
        return None
    return ConflictError(
        "ALREADY_RESERVED",
        f"{usd(before.amount_micro)} of {before.tenant}/{before.period} are reserved, not {usd(amount_micro)}",
        attempt_name(before.run_id, before.attempt),
        "extend the reservation, or open the next attempt",
    )


def already_extended(before: LedgerEntry, extension: str, amount_micro: int) -> ConflictError | None:
    """The error of extending again under the same name, or ``None`` when it is the same extension."""
    if before.amount_micro == amount_micro:
        return None
    return ConflictError(
        "ALREADY_EXTENDED",
        f"extension {extension!r} added {usd(before.amount_micro)}, not {usd(amount_micro)}",
        attempt_name(before.run_id, before.attempt),
        "give each extension a name of its own",
    )


def already_closed(before: LedgerEntry, kind: EntryKind, parts: CostParts) -> ConflictError | None:
    """The error of closing again, or ``None`` when it is the same closing."""
    if (before.kind, before.parts) == (kind, parts):
        return None
    return closed(before)


def closed(before: LedgerEntry) -> ConflictError:
    return ConflictError(
        "ATTEMPT_CLOSED",
        f"its account was closed by {before.kind} with {usd(before.amount_micro)}",
        attempt_name(before.run_id, before.attempt),
        "an attempt is closed once; read the ledger for what was charged",
    )


def require_within(reserved_micro: int, parts: CostParts, run_id: str, attempt: int) -> None:
    """Refuse a charge above the reservation.

    Raises:
        BudgetError: ``OVER_RESERVATION``.
    """
    if parts.total_micro > reserved_micro:
        raise BudgetError(
            "OVER_RESERVATION",
            f"{usd(parts.total_micro)} exceed the reserved {usd(reserved_micro)}",
            attempt_name(run_id, attempt),
            "charge at most what is reserved, or extend the reservation first",
        )


def unknown_run(run_id: str) -> InputError:
    return InputError("UNKNOWN_RUN", f"there is no run {run_id!r}", "control-plane database", "see `headrace runs`")


def unknown_attempt(run_id: str, attempt: int) -> InputError:
    return InputError("UNKNOWN_ATTEMPT", "there is no such attempt", attempt_name(run_id, attempt), "claim it first")


def require_run_step(run: RunRecord, state: RunState) -> None:
    """Refuse to move a run out of its end.

    Raises:
        ConflictError: ``RUN_IS_FINAL``.
    """
    if run.state.final and state is not run.state:
        raise ConflictError(
            "RUN_IS_FINAL", f"it is {run.state} and cannot become {state}", f"run {run.run_id}", "start a new run"
        )


def require_claim(run: RunRecord, record: AttemptRecord, devices_held: int, capacity: int) -> None:
    """Refuse a claim on a finished run, of an old attempt, or of devices that others hold.

    Args:
        devices_held: Devices of the offer that attempts of all runs hold now.
        capacity: Devices that the offer has.

    Raises:
        InputError: ``BAD_NUMBER``, ``BAD_ATTEMPT_STATE``.
        ConflictError: ``RUN_IS_FINAL``, ``STALE_ATTEMPT``, ``CAPACITY_TAKEN``.
    """
    where = attempt_name(record.run_id, record.attempt)
    require_number(record.devices, f"{where}: devices", minimum=1)
    require_micro(record.cap_micro, f"{where}: cap_micro")
    if record.state is not AttemptState.RESERVED:
        raise InputError("BAD_ATTEMPT_STATE", f"an attempt begins reserved, not {record.state}", where, "claim it new")
    require_run_step(run, RunState.ACTIVE)
    if record.attempt != run.attempt + 1:
        raise ConflictError(
            "STALE_ATTEMPT", f"the run is at attempt {run.attempt}", where, f"claim attempt {run.attempt + 1}"
        )
    if devices_held + record.devices > capacity:
        raise ConflictError(
            "CAPACITY_TAKEN",
            f"{devices_held} of {capacity} devices of {record.site}/{record.offer} are held, {record.devices} wanted",
            where,
            "decide again with a new snapshot",
        )


def require_warm(record: AttemptRecord, found: AttemptRecord | None, kind: WorkKind | None) -> None:
    """Refuse a claim of a warm cluster that is not there for it any more.

    Args:
        found: The attempt whose permit has the id that the claim names, and ``kind`` that of its run.

    Raises:
        ConflictError: ``WARM_CLUSTER_GONE``.
    """
    if found is None or kind is not WorkKind.WARM:
        problem = "no warm run has that lease"
    elif found.state is not AttemptState.DISPATCHED:
        problem = f"its attempt is {found.state}"
    elif found.ending is not None:
        problem = f"it was {found.ending}"
    elif (found.site, found.pool, found.offer, found.devices) != (
        record.site,
        record.pool,
        record.offer,
        record.devices,
    ):
        problem = f"it is {found.devices} devices of {found.site}/{found.offer}"
    else:
        return
    raise ConflictError(
        "WARM_CLUSTER_GONE",
        f"{problem}: {record.permit.cluster_lease}",
        attempt_name(record.run_id, record.attempt),
        "decide again with a new snapshot",
    )


def require_changes(names: Iterable[str], run_id: str, attempt: int) -> None:
    """Refuse changes of fields that an attempt keeps for life.

    Raises:
        InputError: ``UNKNOWN_FIELD``.
    """
    unknown = sorted(set(names) - CHANGEABLE)
    if unknown:
        raise InputError(
            "UNKNOWN_FIELD",
            f"{', '.join(unknown)} cannot be changed",
            attempt_name(run_id, attempt),
            f"change only {', '.join(sorted(CHANGEABLE))}",
        )


def fenced(run: RunRecord, publication: Publication, state: AttemptState, before: Publication | None) -> ConflictError:
    """The error of a publication that is not allowed."""
    if before is not None:
        problem = f"attempt {before.attempt} has published {before.name}@{before.version}"
    else:
        problem = f"the run is {run.state} at attempt {run.attempt}, and this attempt is {state}"
    return ConflictError(
        "FENCED",
        problem,
        attempt_name(publication.run_id, publication.attempt),
        "only the newest attempt of a live run publishes, once, after it finished",
    )


def version_exists(name: str, version: str, manifest_sha256: str) -> ConflictError:
    return ConflictError(
        "VERSION_EXISTS",
        f"it was accepted with other content (manifest {manifest_sha256[:12]}…)",
        f"dataset {name}@{version}",
        "give changed data a new version",
    )


def unknown_residency(name: str, version: str) -> InputError:
    return InputError(
        "NO_RESIDENCY",
        "no version of it was accepted, so its residency is unknown",
        f"dataset {name}@{version}",
        "say it: quarantine(…, described=DatasetVersion(…))",
    )


def require_version_name(name: str, version: str) -> None:
    """Refuse a dataset version without a name, or one called ``latest``, which means the newest one.

    Raises:
        InputError: ``BAD_VERSION_NAME``.
    """
    if not name or not version or version == "latest":
        raise InputError(
            "BAD_VERSION_NAME", f"{name!r}@{version!r} is no name", "catalogue", "use a name and a version like v3"
        )


def merged_copies(before: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Sites that hold a copy: those known before, then the new ones, each once."""
    return tuple(dict.fromkeys((*before, *more)))


def require_observation(observation: Observation) -> None:
    """Refuse measurements that are no numbers, or negative.

    Raises:
        InputError: ``BAD_NUMBER``.
    """
    where = f"observation of {attempt_name(observation.run_id, observation.attempt)}"
    for name in ("devices", "units", "run_s", "boot_s", "at"):
        require_number(getattr(observation, name), f"{where}: {name}")
