"""The request and the snapshot, checked against each other and indexed, so that deciding is one pass over the offers.

Whatever the caller got wrong (an unknown tenant, dataset or device, a deadline that is over) is found here and
raised as an ``InputError``. What is merely impossible is no error: it becomes a reason of a candidate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from infra.core.budget import Balance
from infra.core.errors import InputError
from infra.core.inventory import DatasetVersion, Site
from infra.core.placement.market import market_of
from infra.core.placement.snapshot import Health, OfferLoad, QueueEntry, Rate, SiteHealth, Snapshot
from infra.core.policy_facts import Facts
from infra.core.policy_question import Question
from infra.core.recent import remembered
from infra.core.spot.sightings import SpotCapacity
from infra.core.units import iso, period_of
from infra.core.workload import DatasetRef, WorkKind, WorkloadRequest

Key = TypeVar("Key", bound=Hashable)
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class World:
    """One decision's whole input, in a fixed order whatever order it came in.

    Attributes:
        sites: Sorted by name.
        datasets: What the request reads, sorted by name.
        balance: The tenant's account in the period of ``now_at``.
        rates: Rates of the request's kind, by device kind; ``""`` is the reference device.
        loads: What is in use, by (site, offer); an offer without an entry is free.
        queue: Starts that are kept for others, by (site, offer).
        down: Why a site is down, by its name.
        question: What the policy is asked about the request.
        spot: What is known of spot offers' capacity, by (site, offer).
    """

    request: WorkloadRequest
    snapshot: Snapshot
    sites: tuple[Site, ...]
    site_by_name: dict[str, Site]
    datasets: tuple[DatasetVersion, ...]
    balance: Balance
    rates: dict[str, Rate]
    loads: dict[tuple[str, str], OfferLoad]
    queue: dict[tuple[str, str], tuple[QueueEntry, ...]]
    down: dict[str, str]
    spot: dict[tuple[str, str], SpotCapacity]
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
        sites = _sites(snapshot.sites).by_key
        datasets, balance = _datasets(request, snapshot), _balance(request, snapshot)
        return cls(
            request=request,
            snapshot=snapshot,
            sites=tuple(sites.values()),
            site_by_name=sites,
            datasets=datasets,
            balance=balance,
            rates={rate.device: rate for rate in snapshot.rates if rate.kind is request.kind},
            loads=_loads(snapshot.loads).by_key,
            queue=_queue(snapshot.queue),
            down={entry.site: entry.detail for entry in snapshot.health if entry.health is Health.DOWN},
            spot=_spot(snapshot.spot).by_key,
            question=Question(snapshot.policy, Facts.of(request, datasets, balance)),
        )


def _require_unique(snapshot: Snapshot) -> None:
    """Two different statements about one thing have no order that could decide between them."""
    for section, index in (
        ("sites", _sites(snapshot.sites)),
        ("datasets", _versions(snapshot.datasets)),
        ("balances", _accounts(snapshot.balances)),
        ("rates", _rates(snapshot.rates)),
        ("loads", _loads(snapshot.loads)),
        ("health", _health(snapshot.health)),
        ("queue", _queued(snapshot.queue)),
        ("spot", _spot(snapshot.spot)),
    ):
        if index.twice:
            raise InputError(
                "DUPLICATE_ENTRY",
                f"{', '.join(index.twice)} stands twice",
                f"snapshot: {section}",
                "give each one entry",
            )


@dataclass(frozen=True, slots=True)
class _Index(Generic[Key, Entry]):
    """A section of the snapshot by what its entries are about, and the names that stand there twice."""

    by_key: dict[Key, Entry]
    twice: tuple[str, ...]

    @classmethod
    def of(
        cls, entries: Sequence[Entry], key: Callable[[Entry], Key], name: Callable[[Entry], object]
    ) -> _Index[Key, Entry]:
        by_key = {key(entry): entry for entry in entries}
        if len(by_key) == len(entries):
            return cls(by_key, ())
        counts = Counter(key(entry) for entry in entries)
        return cls(by_key, tuple(sorted({str(name(entry)) for entry in entries if counts[key(entry)] > 1})))


# Sections that are the same objects as in an earlier snapshot are not indexed again.


@remembered(8)
def _sites(sites: tuple[Site, ...]) -> _Index[str, Site]:
    ordered = sorted(sites, key=lambda site: site.name)
    return _Index.of(ordered, lambda site: site.name, lambda site: site.name)


@remembered(8)
def _versions(versions: tuple[DatasetVersion, ...]) -> _Index[DatasetRef, DatasetVersion]:
    def ref(version: DatasetVersion) -> DatasetRef:
        return DatasetRef(version.name, version.version)

    return _Index.of(versions, ref, ref)


@remembered(8)
def _accounts(balances: tuple[Balance, ...]) -> _Index[tuple[str, str], Balance]:
    return _Index.of(
        balances,
        lambda balance: (balance.period, balance.tenant),
        lambda balance: f"{balance.tenant} in {balance.period}",
    )


@remembered(8)
def _rates(rates: tuple[Rate, ...]) -> _Index[tuple[WorkKind, str], Rate]:
    return _Index.of(
        rates,
        lambda rate: (rate.kind, rate.device),
        lambda rate: f"{rate.kind} on {rate.device or 'the reference device'}",
    )


@remembered(8)
def _loads(loads: tuple[OfferLoad, ...]) -> _Index[tuple[str, str], OfferLoad]:
    by_key = {(load.site, load.offer): load for load in loads}
    if len(by_key) == len(loads):  # as a rule; a call for each entry would take most of the time
        return _Index(by_key, ())
    return _Index.of(loads, lambda load: (load.site, load.offer), lambda load: f"{load.site}/{load.offer}")


@remembered(8)
def _queue(entries: tuple[QueueEntry, ...]) -> dict[tuple[str, str], tuple[QueueEntry, ...]]:
    found: dict[tuple[str, str], list[QueueEntry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.run_id):
        found.setdefault((entry.site, entry.offer), []).append(entry)
    return {where: tuple(kept) for where, kept in found.items()}


@remembered(8)
def _queued(entries: tuple[QueueEntry, ...]) -> _Index[str, QueueEntry]:
    return _Index.of(entries, lambda entry: entry.run_id, lambda entry: f"run {entry.run_id}")


@remembered(8)
def _spot(seen: tuple[SpotCapacity, ...]) -> _Index[tuple[str, str], SpotCapacity]:
    return _Index.of(seen, lambda entry: (entry.site, entry.offer), lambda entry: f"{entry.site}/{entry.offer}")


@remembered(8)
def _health(health: tuple[SiteHealth, ...]) -> _Index[str, SiteHealth]:
    return _Index.of(health, lambda entry: entry.site, lambda entry: entry.site)


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
    sold = market_of(snapshot.sites).sold
    unknown = sorted(set(request.resources.device_kinds) - sold)
    if unknown:
        raise InputError(
            "UNKNOWN_DEVICE",
            f"no site sells {', '.join(unknown)}",
            "request: resources: device_kinds",
            f"use {_options(sold)}, or leave it empty for any",
        )


def _datasets(request: WorkloadRequest, snapshot: Snapshot) -> tuple[DatasetVersion, ...]:
    known = _versions(snapshot.datasets).by_key
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
    accounts = _accounts(snapshot.balances).by_key
    balance = accounts.get((period, request.tenant))
    if balance is None:
        current = [tenant for in_period, tenant in accounts if in_period == period]
        raise InputError(
            "UNKNOWN_TENANT",
            f"{request.tenant!r} has no budget in {period}",
            "request: tenant",
            f"use {_options(current)}, or give the tenant a budget",
        )
    return balance


def _options(names: Iterable[str], limit: int = 20) -> str:
    """Valid names for an error's remedy, sorted, cut where they would drown the message."""
    ordered = sorted(names)
    if not ordered:
        return "nothing: there is none"
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return f"one of {', '.join(ordered[:limit])}{more}"
