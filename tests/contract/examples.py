"""Values for the contract suites, as they come in practice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from infra.core.budget import Balance
from infra.core.inventory import Cluster, DatasetVersion, Offer, Pool, Purchase, Site, TrustZone
from infra.core.lifecycle import AttemptState, RunState
from infra.core.placement.decision import Candidate, CostParts, Decision, Outcome, Reason, ReasonCode, TimeParts
from infra.core.placement.snapshot import Rate, Snapshot
from infra.core.policy import PERMIT_ALL, Policy
from infra.core.policy_source import PolicySource
from infra.core.pricing import Price, PriceWindow
from infra.core.spot.sightings import Sighting, SpotSighting
from infra.core.trust import PermitClaims, PermittedDataset
from infra.core.workload import DatasetRef, WorkKind, WorkloadRequest
from infra.ports import AttemptRecord, Observation, Publication, RunRecord
from tests.databases import NOW, PERIOD

RUN = "0f3c2b1a-5d4e-4f6a-8b7c-9d0e1f2a3b4c"

DIGITS = DatasetVersion("mnist5k", "v1", 1_234_567, ("onprem-fra",), ("EU", "CH"), TrustZone.PARTNER)


POLICY = PolicySource(PERMIT_ALL, "ab" * 32)


def run_record(run_id: str = RUN, **changes: Any) -> RunRecord:
    record = RunRecord(run_id, run_id.split(":")[0], WorkKind.TRAINING, "vision", RunState.WAITING, 0, NOW)
    return replace(record, **changes)


def permit(run_id: str = RUN, attempt: int = 1, **changes: Any) -> PermitClaims:
    claims = PermitClaims(
        id=f"permit-{run_id}-{attempt}",
        run_id=run_id,
        attempt=attempt,
        site="cloud-eu-central",
        pool="cloud-eu-central",
        offer="spot",
        devices=1,
        work_sha256="ab" * 32,
        datasets=(PermittedDataset("mnist5k", "v1", ("EU", "CH"), TrustZone.PARTNER, "cd" * 32),),
        residency=("DE",),
        trust_zone=TrustZone.PUBLIC,
        cap_micro=700_000,
        issued_at=NOW + 0.1,
        expires_at=NOW + 3600.25,
    )
    return replace(claims, **changes)


def attempt_record(run_id: str = RUN, attempt: int = 1, **changes: Any) -> AttemptRecord:
    record = AttemptRecord(
        run_id=run_id,
        attempt=attempt,
        state=AttemptState.RESERVED,
        site="cloud-eu-central",
        pool="cloud-eu-central",
        offer="spot",
        purchase="spot",
        device="gpu-sim",
        devices=1,
        cap_micro=700_000,
        permit=permit(run_id, attempt),
        started_at=NOW + 0.125,
        expected_finish_at=NOW + 600.1,
    )
    return replace(record, **changes)


def publication(run_id: str = RUN, attempt: int = 1) -> Publication:
    uri = f"file:///store/runs/{run_id}/attempts/{attempt}"
    return Publication(run_id, attempt, "digits", "v3", uri, "ef" * 32, NOW + 700.5, {"accuracy": 0.1 + 0.2})


def observation(run_id: str = RUN, attempt: int = 1, **changes: Any) -> Observation:
    past = Observation(run_id, attempt, WorkKind.TRAINING, "onprem-fra", "owned", "gpu-sim", 2, 5000.0, 12.3, 0.1, NOW)
    return replace(past, **changes)


def sighting(run_id: str = RUN, attempt: int = 1, **changes: Any) -> SpotSighting:
    seen = SpotSighting(run_id, attempt, "cloud-eu-central", "spot", Sighting.OPENED, NOW + 0.1, NOW + 0.1)
    return replace(seen, **changes)


def request() -> WorkloadRequest:
    return WorkloadRequest(
        WorkKind.TRAINING, "vision", (DatasetRef("mnist5k", "v1"),), 25_000.0, deadline_at=NOW + 900.1
    )


def snapshot(now_at: float = NOW) -> Snapshot:
    price = Price(2_500_000, NOW + 86_400, (PriceWindow(60, 300, 0.7),))
    offer = Offer("spot", Purchase.SPOT, "gpu-sim", 4, 16.0, 1.0, price, 20.0, 0.05)
    site = Site(
        "cloud-eu-central",
        "DE",
        TrustZone.PUBLIC,
        (Pool("cloud-eu-central", Cluster.LOCAL, (offer,)),),
        simulated=True,
    )
    rate = Rate(WorkKind.TRAINING, "", 4.0, 0.001, 0.2)
    digits = replace(DIGITS, trust_zone=TrustZone.PUBLIC, copies=("cloud-eu-central",))
    return Snapshot(now_at, Policy("p1"), (site,), (digits,), (Balance("vision", PERIOD, 9_000_000),), (rate,))


def decision() -> Decision:
    cost = CostParts(compute_micro=500_000, boot_micro=20_000)
    chosen = Candidate(
        "cloud-eu-central",
        "cloud-eu-central",
        "spot",
        Purchase.SPOT,
        "gpu-sim",
        1,
        True,
        (),
        NOW,
        NOW + 49,
        NOW + 60,
        TimeParts(boot_s=20.0, compute_s=29.0),
        cost,
        700_000,
    )
    reasons = (Reason(ReasonCode.RESIDENCY_EXCLUDED, (("jurisdiction", "US"), ("tags", ("EU", "CH")))),)
    other = replace(chosen, site="cloud-us-east", pool="cloud-us-east", feasible=False, reasons=reasons)
    return Decision(Outcome.RUN, chosen, None, (chosen, other), (), (), "1")
