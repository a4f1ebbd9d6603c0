"""Drills of trust: permits that nobody issued for this, and a site whose key has leaked."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.adapters.permits import PermitSigner
from infra.core.canonical import digest
from infra.drills.stage import Stage


def forged_permit(stage: Stage) -> None:
    """Hand-made calls into a site's pool, with every kind of permit that is not one: nothing is read, started or paid."""
    box = stage.box
    run = stage.probe("honest")
    stage.completes("honest")
    box.until(lambda: box.settled(run), "it to be settled")
    attempt = box.attempt(run)
    used = box.flow_run(attempt.child_run_id or "").parameters
    claims, site = attempt.permit, attempt.site
    other = next(each.name for each in box.control.sites if each.name != site)
    work: dict[str, Any] = {"run_id": claims.run_id, "attempt": claims.attempt, **used["work"]}
    fresh = replace(claims, id=str(uuid.uuid4()), work_sha256=digest(work))
    stranger = PermitSigner(Ed25519PrivateKey.generate())
    calls = {
        "PERMIT_MISSING": (site, "", {}),
        "PERMIT_MALFORMED": (site, "let me in", work),
        "PERMIT_FORGED": (site, stranger.sign(fresh), work),
        "PERMIT_WRONG_SITE": (other, used["permit"], used["work"]),
        "PERMIT_REPLAYED": (site, used["permit"], used["work"]),
        "PERMIT_WRONG_WORK": (site, used["permit"], {**work, "parameters": {"sleep_s": 600}}),
        "PERMIT_EXPIRED": (site, box.control.signer.sign(replace(fresh, expires_at=time.time() - 1)), work),
    }
    before = _traces(stage)
    stage.inject(f"{len(calls)} hand-made calls into the pools of {site} and {other}")
    started = {
        code: box.start(f"site-run/{where}", permit=permit, work=asked)
        for code, (where, permit, asked) in calls.items()
    }
    for code, flow_run in started.items():
        ended = box.finished(flow_run)
        message = (ended.state.message if ended.state else None) or ""
        stage.expect(ended.state_name == "Refused" and code in message, f"{code}: {ended.state_name}, {message}")
        stage.detected(f"refused: {code}")
    stage.expect(_traces(stage) == before, "a refused call left something behind")
    stage.recovered("no lease, no attempt, no line in the ledger, no cluster")


def credential_leak(stage: Stage) -> None:
    """A site's key has leaked while it computes: it is revoked, its lease ends, the run goes on elsewhere."""
    box = stage.box
    run = stage.probe("at the leaking site", 15, purchases=["on_demand"])
    note = box.computing(run)
    site = note.lease.site
    stage.inject(f"headrace site revoke {site}")
    status, out, err = box.cli("site", "revoke", site, "--why", "its key has leaked (drill)")
    stage.expect(status == 0, out + err)
    box.until(lambda: box.attempt(run).state.closed, "its attempt to be closed", 60)
    stage.detected("its attempt is closed, paid by the control plane's own clock")
    box.until(lambda: note.lease.id not in box.leases_in_use(), "its machines to end", 60)
    stage.see("its lease has ended: no machine is left")
    box.computing(run, 2)
    attempts = box.runs.attempts(run)
    stage.went_on(attempts[-1].site != site, f"the run goes on at {attempts[-1].site}")
    stage.probe("anything new", purchases=["on_demand"])
    stage.completes("anything new")
    stage.expect(box.attempt(stage.runs["anything new"]).site != site, "a permit was issued for a revoked site")
    stage.inject(f"headrace site restore {site} (with a new key)")
    status, out, err = box.cli("site", "restore", site)
    stage.expect(status == 0, out + err)
    stage.completes("at the leaking site", 200)
    stage.recovered("published elsewhere; the site is trusted again under a new key")


def _traces(stage: Stage) -> tuple[Any, ...]:
    """Everything that a started run would leave: claimed leases, clusters, attempts, lines of the ledger."""
    box = stage.box
    sites = [box.settings.site_dir(site.name) for site in box.control.sites]
    leases = sorted(path.name for site in sites for path in site.glob("leases/*"))
    notes = sorted(path.name for site in sites for path in site.glob("runs/*"))
    return leases, notes, len(box.ledger.entries()), box.runs.open_attempts()
