"""The catalogue of clouds' machine types: which devices they have, what they cost, how long they boot."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from infra.core.errors import InputError
from infra.core.inventory import Purchase
from infra.core.pricing import Price
from infra.core.units import require_number


class Provider(StrEnum):
    """Whose machines they are."""

    AWS = "aws"
    GCP = "gcp"
    AZURE = "azure"
    OPENSTACK = "openstack"


@dataclass(frozen=True, slots=True)
class MachineType:
    """A kind of machine in one region, or in all.

    Attributes:
        region: The provider's name of the region; ``None`` for all regions that have no entry of their own.
        devices: How many devices such a machine has.
        memory_gb: Memory of one device.
        on_demand: Price of the machine, or ``None`` when it is not known.
        spot: As ``on_demand``, for machines that may be taken back.
        boot_s: Expected time from the request to a usable machine, or ``None`` when it is not known.
    """

    provider: Provider
    instance_type: str
    device: str
    memory_gb: float
    region: str | None = None
    devices: int = 1
    on_demand: Price | None = None
    spot: Price | None = None
    boot_s: float | None = None

    def __post_init__(self) -> None:
        where = f"machine {self.instance_type}"
        require_number(self.memory_gb, f"{where}: memory_gb", exclusive=True)
        require_number(self.devices, f"{where}: devices", exclusive=True)
        if self.boot_s is not None:
            require_number(self.boot_s, f"{where}: boot_s")

    def price(self, purchase: Purchase) -> Price | None:
        """What it costs when it is bought this way."""
        return self.spot if purchase is Purchase.SPOT else self.on_demand

    @property
    def valid_until_at(self) -> float | None:
        """The instant after which a price is stale; ``None`` when there is no price."""
        ends = [price.valid_until_at for price in (self.on_demand, self.spot) if price is not None]
        return min((end for end in ends if end is not None), default=None)

    def stale(self, now_at: float) -> bool:
        """Whether its prices must not be used any more."""
        return self.valid_until_at is not None and now_at > self.valid_until_at


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All machine types that are known."""

    machines: tuple[MachineType, ...] = ()

    def __post_init__(self) -> None:
        seen: set[tuple[str, str | None, str]] = set()
        for index, machine in enumerate(self.machines):
            key = (machine.provider, machine.region, machine.instance_type)
            if key in seen:
                raise InputError(
                    "DUPLICATE_ENTRY",
                    f"{machine.instance_type} of {machine.provider} in {machine.region or 'all regions'} stands twice",
                    f"catalogue: machines[{index}]",
                    "keep one of them",
                )
            seen.add(key)

    @property
    def ordered(self) -> tuple[MachineType, ...]:
        """By provider, region and name; those of all regions first."""
        return tuple(sorted(self.machines, key=lambda found: (found.provider, found.region or "", found.instance_type)))

    def find(self, provider: Provider, region: str, instance_type: str) -> MachineType | None:
        """The entry of this region, or else the one of all regions."""
        for wanted in (region, None):
            for machine in self.machines:
                if (machine.provider, machine.region, machine.instance_type) == (provider, wanted, instance_type):
                    return machine
        return None
