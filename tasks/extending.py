"""Raises the cap of an attempt that nears it, where budgets and policy leave room: reserved first, then told to the site.

Without an extension the site stops the attempt at its cap, with a checkpoint. So whatever fails here costs time and never
money.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from infra.adapters.extensions import leave_extension
from infra.core.budget import next_cap
from infra.core.errors import BudgetError, ConflictError, InputError
from infra.core.placement.constraints import view_site
from infra.core.placement.policing import policy_reasons
from infra.core.placement.world import World
from infra.core.trust import PermitExtension
from infra.ports import AttemptRecord
from infra.wiring import ControlPlane
from tasks.moving import placed


class NoExtension(StrEnum):
    """Why an attempt gets no more money."""

    NO_ROOM = "no_room"
    """Its permit leaves no more room: the run's own budget, or twice what was reserved at first."""
    TENANT_BUDGET = "tenant_budget"
    POLICY = "policy"
    """The present policy would not place it there for so much."""
    DEADLINE = "deadline"
    """Its deadline is over, or what it was placed for is no more."""
    SITE_REVOKED = "site_revoked"
    ENDING = "ending"
    """It has ended, or was told to move."""


@dataclass(frozen=True, slots=True)
class Extension:
    """What came of it.

    Attributes:
        cap_micro: The cap from now on.
        why_not: Why it is no larger than before; ``None`` when it is.
    """

    cap_micro: int
    why_not: NoExtension | None = None


def extend(control: ControlPlane, attempt: AttemptRecord) -> Extension:
    """Raise the attempt's cap by a step, if that may be. Safe to repeat after a crash: each step has its name."""
    ledger, now_at = control.database.ledger, control.clock.now()
    before = ledger.reserved_for(attempt.run_id, attempt.attempt)
    after = next_cap(attempt.cap_micro, before, attempt.permit.limit_micro)
    refused = NoExtension.NO_ROOM if after == before else _refused(control, attempt, after)
    if refused is None:
        try:
            ledger.extend(attempt.run_id, attempt.attempt, f"to {after}", after - before, now_at)
        except BudgetError:
            refused = NoExtension.TENANT_BUDGET
        except ConflictError:
            refused = NoExtension.ENDING
    if refused is not None:
        return Extension(before, refused)
    tell_site(control, attempt, after)
    return Extension(after)


def tell_site(control: ControlPlane, attempt: AttemptRecord, cap_micro: int) -> None:
    """Leave the signed extension where the site looks for it."""
    extension = PermitExtension(attempt.permit.id, attempt.run_id, attempt.attempt, cap_micro, control.clock.now())
    leave_extension(control.store, control.signer, extension)


def _refused(control: ControlPlane, attempt: AttemptRecord, cap_micro: int) -> NoExtension | None:
    if attempt.site in control.revoked:
        return NoExtension.SITE_REVOKED
    of = placed(control, attempt)
    if of is None or attempt.ending is not None:
        return NoExtension.ENDING
    snapshot = control.snapshot(tuple((ref.name, ref.version) for ref in of.request.datasets), attempt.run_id)
    try:
        # The budgets have their say in the ledger; here the run is only to be looked at as it was asked for.
        world = World.of(replace(of.request, budget_micro=None), snapshot)
        site = world.site_by_name[attempt.site]
        offer = snapshot.offer(attempt.site, attempt.offer)
    except (InputError, KeyError):
        return NoExtension.DEADLINE
    moved = view_site(world, site).moved
    return NoExtension.POLICY if policy_reasons(world, site, offer, moved, snapshot.now_at, cap_micro) else None
