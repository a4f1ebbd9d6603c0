"""Takes the one consistent look at the world that a decision is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from infra.core.inventory import Purchase, Site
from infra.core.lifecycle import AttemptState
from infra.core.placement.fitting import release_of
from infra.core.placement.learning import Observation, Underway, learn_boots, learn_handovers, learn_rates
from infra.core.placement.queue import to_respect
from infra.core.placement.resting import rests_of, with_rests
from infra.core.placement.snapshot import OfferLoad, Rate, Release, SiteHealth, Snapshot
from infra.core.policy import Policy
from infra.core.spot.sightings import Sighting, SpotCapacity, SpotSighting, learn_capacity
from infra.core.units import period_of
from infra.core.warm import TAKEN
from infra.core.workload import WorkKind
from infra.ports import AttemptRecord, Clock, ControlStore


def held_by(attempt: AttemptRecord, now_at: float) -> Release:
    """How the attempt's devices stand in the load of their offer."""
    return release_of(attempt.expected_finish_at, attempt.late_finish_at, attempt.devices, now_at)


def loads_of(attempts: tuple[AttemptRecord, ...], now_at: float) -> tuple[OfferLoad, ...]:
    """Devices in use by offer, from the attempts that hold some, in the order of (site, offer, release)."""
    releases: dict[tuple[str, str], list[Release]] = {}
    for attempt in attempts:
        releases.setdefault((attempt.site, attempt.offer), []).append(held_by(attempt, now_at))
    return tuple(
        OfferLoad(site, offer, tuple(sorted(rows, key=lambda release: (release.at, release.devices))))
        for (site, offer), rows in sorted(releases.items())
    )


def _boots_told(sites: tuple[Site, ...]) -> dict[tuple[str, str], float]:
    """Boot times as the site files have them, in seconds, by (site, offer)."""
    return {(site.name, offer.name): offer.boot_s for site in sites for pool in site.pools for offer in pool.offers}


def with_measured(
    loads: tuple[OfferLoad, ...], observations: tuple[Observation, ...], sites: tuple[Site, ...]
) -> tuple[OfferLoad, ...]:
    """The loads with the boots and hand-overs that past runs of each offer showed, in the order of (site, offer)."""
    expected = _boots_told(sites)
    by_offer = {(load.site, load.offer): load for load in loads}
    for key, (boot_s, spread) in learn_boots(observations, expected).items():
        by_offer[key] = replace(by_offer.get(key, OfferLoad(*key)), boot_s=boot_s, boot_spread=spread)
    for key, (handover_s, spread) in learn_handovers(observations).items():
        if key in expected:
            by_offer[key] = replace(by_offer.get(key, OfferLoad(*key)), handover_s=handover_s, handover_spread=spread)
    return tuple(load for _, load in sorted(by_offer.items()))


def spot_of(
    sightings: tuple[SpotSighting, ...], attempts: tuple[AttemptRecord, ...], sites: tuple[Site, ...], now_at: float
) -> tuple[SpotCapacity, ...]:
    """What is known of the spot offers that are sold: past sightings, and that what runs now is still held."""
    sold = {
        (site.name, offer.name)
        for site in sites
        for pool in site.pools
        for offer in pool.offers
        if offer.purchase is Purchase.SPOT
    }
    running = {(each.run_id, each.attempt) for each in attempts if each.state is AttemptState.DISPATCHED}
    held = [
        replace(seen, what=Sighting.HELD, at=max(seen.at, now_at))
        for seen in sightings
        if seen.what is Sighting.OPENED and (seen.run_id, seen.attempt) in running
    ]
    return learn_capacity(seen for seen in (*sightings, *held) if (seen.site, seen.offer) in sold)


def underway_of(
    attempts: tuple[AttemptRecord, ...],
    work: Mapping[str, tuple[WorkKind, float]],
    loads: tuple[OfferLoad, ...],
    sites: tuple[Site, ...],
    now_at: float,
) -> list[Underway]:
    """Attempts that have not ended, as estimates learn from them.

    The control plane does not see when an attempt's work begins, so its boot and hand-over are taken as usual.

    Args:
        work: Kind and units by run.
        loads: With what was measured of each offer.
    """
    boots = _boots_told(sites)
    handovers: dict[tuple[str, str], float] = {}
    for load in loads:
        key = (load.site, load.offer)
        boots[key] = boots.get(key, 0.0) if load.boot_s is None else load.boot_s
        handovers[key] = load.handover_s
    found = []
    for each in attempts:
        if each.state is not AttemptState.DISPATCHED or each.run_id not in work:
            continue
        kind, units = work[each.run_id]
        offer = (each.site, each.offer)
        boot_s = 0.0 if each.permit.cluster_lease else boots.get(offer, 0.0)
        begun_at = each.started_at + handovers.get(offer, 0.0) + boot_s
        if now_at > begun_at:
            found.append(Underway(kind, each.device, each.devices, units, begun_at, now_at - begun_at))
    return found


def take_snapshot(
    database: ControlStore,
    sites: tuple[Site, ...],
    policy_at: Callable[[float], Policy],
    priors: tuple[Rate, ...],
    health: Callable[[tuple[str, ...], float], tuple[SiteHealth, ...]],
    clock: Clock,
    datasets: tuple[tuple[str, str], ...] | None = None,
    run_id: str = "",
) -> Snapshot:
    """Return the world as it is now.

    Args:
        policy_at: The current policy with its windows as of an instant.
        health: Says how the named sites are, given the instant.
        datasets: Names and versions to include; all accepted ones when ``None``.
        run_id: The run that is decided about: its own devices are left out, and it need not respect those who stand behind
            it in the queue.
    """
    now_at = clock.now()
    healths = health(tuple(site.name for site in sites), now_at)
    with database.reading():
        holding = tuple(attempt for attempt in database.runs.open_attempts() if attempt.state.holds_devices)
        if datasets is None:
            entries = [entry for entry in database.catalog.versions() if not entry.quarantined]
        else:
            found = [database.catalog.find(name, version) for name, version in datasets]
            entries = [entry for entry in found if entry is not None and not entry.quarantined]
        balances = database.ledger.balances(period_of(now_at))
        observations, work = database.history.observations(), database.runs.work_under_way()
        queue = to_respect(database.runs.queue(), run_id)
        sightings = database.spot.sightings()
        policy = policy_at(now_at)
    # The devices of a warm cluster that was taken are those of the run that took it.
    others = tuple(attempt for attempt in holding if attempt.run_id != run_id and attempt.ending != TAKEN)
    loads = with_measured(loads_of(others, now_at), observations, sites)
    versions = sorted({entry.version for entry in entries}, key=lambda version: (version.name, version.version))
    return Snapshot(
        now_at=now_at,
        policy=policy,
        sites=sites,
        datasets=tuple(versions),
        balances=balances,
        rates=learn_rates(observations, priors, underway=underway_of(holding, work, loads, sites, now_at)),
        loads=with_rests(loads, rests_of(sightings, now_at), sites),
        health=healths,
        queue=queue,
        spot=spot_of(sightings, holding, sites, now_at),
    )
