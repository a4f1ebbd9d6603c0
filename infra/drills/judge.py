"""Holds what a drill left behind against the invariants: from the records, the store and the process table, never from hope."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from infra.adapters.ledger_check import problems_of
from infra.core.budget import EntryKind
from infra.core.jurisdictions import permits
from infra.core.units import usd
from infra.drills.platform import Platform
from infra.drills.report import Finding, Invariant, RunSeen
from infra.ports import AttemptRecord
from infra.render.replay import replayed

LEAK_GRACE_S = 45.0
"""How long after the last run machines may still be ending: the reaper's grace and one of its rounds."""


def judge(
    box: Platform, runs: Mapping[str, str], degraded: Finding | None = None
) -> tuple[list[RunSeen], list[Finding]]:
    """What became of a drill's runs, and whether each invariant held.

    Args:
        runs: Run ids by what the drill calls them.
        degraded: What the drill itself saw of I6.
    """
    attempts = {run_id: box.runs.attempts(run_id) for run_id in runs.values()}
    everything = [attempt for found in attempts.values() for attempt in found]
    findings = [
        _residency(box, everything),
        _budget(box, everything),
        _once(box, runs.values()),
        _leaks(box),
        _explained(box, runs.values()),
    ]
    return [_seen(box, name, run_id) for name, run_id in runs.items()], findings + ([degraded] if degraded else [])


def _seen(box: Platform, name: str, run_id: str) -> RunSeen:
    run, attempts = box.runs.run(run_id), box.runs.attempts(run_id)
    return RunSeen(
        name=name,
        run_id=run_id,
        state=run.state.value if run is not None else (box.flow_run(run_id).state_name or "unknown").lower(),
        attempts=tuple(f"{each.site}/{each.offer} {each.ending or each.state.value}" for each in attempts),
        charged_micro=sum(each.charged.total_micro for each in attempts if each.charged is not None),
        results=int(box.runs.publication(run_id) is not None),
    )


def _residency(box: Platform, attempts: Iterable[AttemptRecord]) -> Finding:
    """Every site that had an attempt may hold all data of its permit; nobody else was sent a permit."""
    country = {site.name: site.jurisdiction for site in box.control.sites}
    checked, wrong = 0, []
    for attempt in attempts:
        for dataset in attempt.permit.datasets:
            checked += 1
            if not permits(dataset.residency, country[attempt.site]):
                wrong.append(f"{dataset.name} was permitted at {attempt.site}")
    told = "; ".join(wrong) or f"{checked} permitted datasets, each at a site that may hold it"
    return Finding(Invariant.RESIDENCY, not wrong, told)


def _budget(box: Platform, attempts: Iterable[AttemptRecord]) -> Finding:
    """The ledger adds up without ever having exceeded a limit; each attempt was charged once, within its cap."""
    wrong = problems_of(box.control.database)
    lines = box.ledger.entries()
    for attempt in attempts:
        mine = [line for line in lines if (line.run_id, line.attempt) == (attempt.run_id, attempt.attempt)]
        kinds = [line.kind.value for line in mine]
        if kinds.count("reserve") != 1 or kinds.count("settle") + kinds.count("expire") != 1:
            wrong.append(f"attempt {attempt.attempt} of {attempt.run_id} has the lines {kinds}")
        extended = [line.amount_micro for line in mine if line.kind is EntryKind.EXTEND]
        cap_micro = attempt.cap_micro + sum(extended)
        if attempt.charged is None or attempt.charged.total_micro > cap_micro:
            wrong.append(f"attempt {attempt.attempt} of {attempt.run_id} is unpaid or above its cap")
    reserved = sum(balance.reserved_micro for balance in box.ledger.balances())
    if reserved:
        wrong.append(f"{usd(reserved)} are still reserved")
    told = "; ".join(wrong) or f"{len(lines)} lines add up, nothing is reserved, no limit was exceeded"
    return Finding(Invariant.BUDGET, not wrong, told)


def _once(box: Platform, run_ids: Iterable[str]) -> Finding:
    """Each run that was published has one result, complete; no other attempt of it left anything visible."""
    wrong, published = [], 0
    for run_id in run_ids:
        publication = box.runs.publication(run_id)
        if publication is None:
            continue
        published += 1
        if not publication.name:
            continue
        entry = box.control.database.catalog.find(publication.name, publication.version)
        if entry is None:
            wrong.append(f"{publication.name}@{publication.version} is published and not in the catalogue")
        elif entry.manifest_sha256 != publication.manifest_sha256:
            wrong.append(f"{publication.name}@{publication.version} is not what was published")
    return Finding(Invariant.ONCE, not wrong, "; ".join(wrong) or f"{published} results, each published once and whole")


def _leaks(box: Platform) -> Finding:
    """No machine of a lease is left once its grace is over."""
    until = time.monotonic() + LEAK_GRACE_S
    while (left := box.leases_in_use()) and time.monotonic() < until:
        time.sleep(0.2)
    return Finding(Invariant.NO_LEAKS, not left, f"machines of {left} are left" if left else "no machine is left")


def _explained(box: Platform, run_ids: Iterable[str]) -> Finding:
    """Every decision can be made again from its record, to the byte."""
    total, differing = 0, []
    for run_id in run_ids:
        for record in box.runs.decisions(run_id):
            total += 1
            if not replayed(record).identical:
                differing.append(f"{run_id} #{record.sequence}")
    told = f"differ: {', '.join(differing)}" if differing else f"{total} decisions recomputed, byte for byte the same"
    return Finding(Invariant.EXPLAINED, not differing, told)
