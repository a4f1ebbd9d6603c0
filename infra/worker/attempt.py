"""An attempt at a site: what admitted it, what is written down about it, and what it costs so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.core.inventory import Offer, Pool
from infra.core.metering import cap_reached_at, machine_cost_micro
from infra.core.trust import PermitClaims
from infra.ports import Lease
from infra.worker.site_state import AttemptNote
from infra.worker.store_access import Access


@dataclass(frozen=True, slots=True)
class Admission:
    """A flow run that may start here: its permit, and the offer that it may use."""

    flow_run_id: str
    claims: PermitClaims
    offer: Offer
    pool: Pool
    work: Mapping[str, Any] = field(repr=False)
    """What the permit binds by its digest."""


@dataclass(slots=True)
class SiteAttempt:
    """An admitted attempt on its way.

    Attributes:
        taken: The warm attempt's lease whose cluster it uses; empty while it uses its own.
    """

    note: AttemptNote
    admission: Admission
    access: Access = field(default_factory=Access)
    taken: str = ""

    @property
    def lease(self) -> Lease:
        return self.note.lease

    @property
    def capped_at(self) -> float:
        """When its devices will have cost what they may."""
        lease = self.lease
        return cap_reached_at(self.admission.offer.price, lease.devices, lease.opened_at, lease.cap_micro)

    @property
    def extendable(self) -> bool:
        """Whether its permit leaves room for a larger cap."""
        return self.lease.cap_micro < self.admission.claims.limit_micro

    def cost_micro(self, now_at: float) -> int:
        return machine_cost_micro(self.admission.offer.price, self.lease.devices, self.lease.opened_at, now_at)
