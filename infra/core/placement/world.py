"""The request and the snapshot, checked against each other and indexed, so that deciding is one pass over the offers.

Whatever the caller got wrong (an unknown tenant, dataset or device, a deadline that is over) is found here and
raised as an ``InputError``. What is merely impossible is no error: it becomes a reason of a candidate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from infra.core.budget import Balance
from infra.core.errors import InputError
from infra.core.inventory import DatasetVersion, Site
from infra.core.placement.snapshot import Health, OfferLoad, Rate, Snapshot
from infra.core.policy_facts import Facts
from infra.core.policy_question import Question
from infra.core.units import iso, period_of
from infra.core.workload import DatasetRef, WorkloadRequest

OVERDUE_GRACE_S = 60.0
"""Devices that should be back already are still in use: they are expected this long after now."""


@dataclass(frozen=True, slots=True)
class World:
    """One decision's whole input, in a fixed order whatever order it came in.

    Attributes:
        sites: Sorted by name.
        datasets: What the request reads, sorted by name.
        balance: The tenant's account in the period of ``now_at``.
        rates: Rates of the request's kind, by device kind; ``""`` is the reference device.
        loads: What is in use, by (site, offer); an offer without an entry is free.
        down: Why a site is down, by its name.
        question: What the policy is asked about the request.
    """

    request: WorkloadRequest
    snapshot: Snapshot
    sites: tuple[Site, ...]
    site_by_name: dict[str, Site]
    datasets: tuple[DatasetVersion, ...]
    balance: Balance
    rates: dict[str, Rate]
    loads: dict[tuple[str, str], OfferLoad]
    down: dict[str, str]
    question: Question

    @property
    def now_at(self) -> float:
        return self.snapshot.now_at

    @classmethod
    def of(cls, request: WorkloadRequest, snapshot: Snapshot) -> World:
        """Check and index.

        Raises:
            InputError: ``DEADLINE_PAST``, ``UNKNOWN_TENANT``, ``UNKNOWN_DATASET``, ``UNKNOWN_DEVICE``, or
                ``DUPLICATE_ENTRY`` when the snapshot says something twice.
        """
        _require_unique(snapshot)
        _require_future_deadline(request, snapshot.now_at)
        _require_sold_devices(request, snapshot)
        sites = tuple(sorted(snapshot.sites, key=lambda site: site.name))
        datasets, balance = _datasets(request, snapshot), _balance(request, snapshot)
        return cls(
            request=request,
            snapshot=snapshot,
            sites=sites,
            site_by_name={site.name: site for site in sites},
            datasets=datasets,
            balance=balance,
            rates={rate.device: rate for rate in snapshot.rates if rate.kind is request.kind},
            loads=_loads(snapshot),
            down={entry.site: entry.detail for entry in snapshot.health if entry.health is Health.DOWN},
            question=Question(snapshot.policy, Facts.of(request, datasets, balance)),
        )


def _require_unique(snapshot: Snapshot) -> None:
    """Two different statements about one thing have no order that could decide between them."""
    named: dict[str, Iterable[object]] = {
        "sites": (site.name for site in snapshot.sites),
        "datasets": (f"{version.name}@{version.version}" for version in snapshot.datasets),
        "balances": (f"{balance.tenant} in {balance.period}" for balance in snapshot.balances),
        "rates": (f"{rate.kind} on {rate.device or 'the reference device'}" for rate in snapshot.rates),
        "loads": (f"{load.site}/{load.offer}" for load in snapshot.loads),
        "health": (entry.site for entry in snapshot.health),
    }
    for section, names in named.items():
        twice = sorted(str(name) for name, count in Counter(names).items() if count > 1)
        if twice:
            raise InputError(
                "DUPLICATE_ENTRY", f"{', '.join(twice)} stands twice", f"snapshot: {section}", "give each one entry"
            )


def _require_future_deadline(request: WorkloadRequest, now_at: float) -> None:
    if request.deadline_at is not None and request.deadline_at <= now_at:
        raise InputError(
            "DEADLINE_PAST",
            f"the deadline {iso(request.deadline_at)} is over",
            "request: deadline_at",
            f"it is {iso(now_at)}: give a later instant, or none",
        )


def _require_sold_devices(request: WorkloadRequest, snapshot: Snapshot) -> None:
    if not request.resources.device_kinds:
        return
    sold = {offer.device for site in snapshot.sites for pool in site.pools for offer in pool.offers}
    unknown = sorted(set(request.resources.device_kinds) - sold)
    if unknown:
        raise InputError(
            "UNKNOWN_DEVICE",
            f"no site sells {', '.join(unknown)}",
            "request: resources: device_kinds",
            f"use {_options(sold)}, or leave it empty for any",
        )


def _datasets(request: WorkloadRequest, snapshot: Snapshot) -> tuple[DatasetVersion, ...]:
    known = {DatasetRef(version.name, version.version): version for version in snapshot.datasets}
    unknown = sorted(str(ref) for ref in request.datasets if ref not in known)
    if unknown:
        raise InputError(
            "UNKNOWN_DATASET",
            f"no accepted version {', '.join(unknown)}",
            "request: datasets",
            f"use {_options(str(ref) for ref in known)}",
        )
    return tuple(known[ref] for ref in sorted(request.datasets, key=lambda ref: (ref.name, ref.version)))


def _balance(request: WorkloadRequest, snapshot: Snapshot) -> Balance:
    period = period_of(snapshot.now_at)
    current = {balance.tenant: balance for balance in snapshot.balances if balance.period == period}
    if request.tenant not in current:
        raise InputError(
            "UNKNOWN_TENANT",
            f"{request.tenant!r} has no budget in {period}",
            "request: tenant",
            f"use {_options(current)}, or give the tenant a budget",
        )
    return current[request.tenant]


def _loads(snapshot: Snapshot) -> dict[tuple[str, str], OfferLoad]:
    return {(load.site, load.offer): load for load in snapshot.loads}


def _options(names: Iterable[str], limit: int = 20) -> str:
    """Valid names for an error's remedy, sorted, cut where they would drown the message."""
    ordered = sorted(names)
    if not ordered:
        return "nothing: there is none"
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return f"one of {', '.join(ordered[:limit])}{more}"
