"""Site files: one YAML per site, what compute is there and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from infra.core.catalogue import Catalogue, MachineType, Provider
from infra.core.errors import InputError
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from infra.core.jurisdictions import require_country
from infra.core.pricing import Price, PriceWindow
from infra.core.units import instant, micro_from_usd
from infra.core.warm import WarmSetting
from infra.documents.catalogue import catalogue_path, load_catalogue
from infra.documents.clusters import (
    AzureDocument,
    Ec2Document,
    GcpDocument,
    OpenStackDocument,
    SlurmDocument,
    place_of,
    settings_of,
)
from infra.documents.fields import Count, Document, Instant, MinuteOfDay, Name, Number, Positive, Text, Usd, minute_of
from infra.documents.files import config_path, display, read_tree
from infra.documents.problems import join, located, validated

_RENAMED = {"egress_micro_per_gb": "egress_usd_per_gb", "price": "price_usd_per_hour"}


class PriceWindowDocument(Document):
    """A daily window in UTC in which the price is multiplied."""

    start: MinuteOfDay = Field(alias="from", description="First minute of the window, HH:MM in UTC.")
    end: MinuteOfDay = Field(alias="to", description="First minute after it; earlier than `from` to span midnight.")
    factor: Number = Field(description="Multiplier of price_usd_per_hour.")


_FROM_CATALOGUE = ("device", "memory_gb", "price_usd_per_hour")
"""What an offer with an instance type may leave to the catalogue; all others must say it."""


def _left_out(schema: dict[str, Any]) -> None:
    """The default stands for what was left out and is no value to write."""
    schema.pop("default", None)


class OfferDocument(Document):
    """Something that a pool can sell now. With an instance type, the catalogue knows what is left out here."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"not": {"required": ["instance_type"]}},
            "then": {"required": list(_FROM_CATALOGUE)},
        }
    )

    name: Name = Field(description="Unique within the site.")
    purchase: Purchase = Field(description="How it is paid for.")
    device: Name = Field("", json_schema_extra=_left_out, description="Kind of device, for example gpu-l4.")
    capacity: Count = Field(description="How many devices of it exist.")
    memory_gb: Positive = Field(
        0.0, json_schema_extra=_left_out, description="Memory of one device in gigabytes (10^9 bytes)."
    )
    relative_speed: Positive = Field(1.0, description="Throughput of one device; the reference device has 1.0.")
    price_usd_per_hour: Usd | None = Field(
        None,
        json_schema_extra=_left_out,
        description="USD for one device for one hour; null when it is not known, and then nothing is placed here.",
    )
    price_valid_until: Instant | None = Field(
        None, description="ISO 8601 instant after which the price is stale and nothing is placed here."
    )
    price_windows: tuple[PriceWindowDocument, ...] = Field(
        (), description="Daily windows; the first that holds counts."
    )
    boot_s: Number = Field(0.0, description="Expected seconds from the request to a usable machine.")
    interruptions_per_hour: Number = Field(
        0.0, description="Expected reclaims of one device in an hour; only for spot."
    )
    instance_type: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}$",
        description="Kind of machine with one such device, as the cloud calls it, for example g5.xlarge.",
    )


class WarmDocument(Document):
    """Clusters of an offer that are kept booted when recent demand says that they will be used."""

    offer: Name = Field(description="Name of the offer, in this pool.")
    tenant: Name = Field(description="Who pays for the idling, as named in tenants.yaml.")
    devices: Count = Field(1, description="Devices of each cluster; a run takes one with as many as it asks for.")
    most: Count = Field(1, description="How many may idle or boot at once, at most 64.")
    keep_s: Positive = Field(600.0, description="Seconds for which one idles for nobody before it ends.")
    serve_s: Positive = Field(
        3600.0, description="Seconds, at least 900, that one lasts beyond that for the run that takes it."
    )

    def to_core(self) -> WarmSetting:
        """The core value."""
        return WarmSetting(self.offer, self.tenant, self.devices, self.most, self.keep_s, self.serve_s)


class PoolDocument(Document):
    """A Prefect work pool at the site."""

    name: Name = Field(description="Name of the Prefect work pool; unique among all sites.")
    cluster: Cluster = Field(
        description="How a run gets its Dask cluster: attached (a standing one), local (the built-in simulated cloud), "
        "ec2, gcp, azure, openstack (machines of a cloud, started for it) or slurm (jobs in an on-prem queue)."
    )
    ec2: Ec2Document | None = Field(None, description="Where and how machines are started; for cluster: ec2.")
    slurm: SlurmDocument | None = Field(None, description="How jobs are put into the queue; for cluster: slurm.")
    gcp: GcpDocument | None = Field(None, description="As ec2, for cluster: gcp.")
    azure: AzureDocument | None = Field(None, description="As ec2, for cluster: azure.")
    openstack: OpenStackDocument | None = Field(None, description="As ec2, for cluster: openstack.")
    offers: tuple[OfferDocument, ...] = Field(min_length=1, description="What the pool sells.")
    warm: tuple[WarmDocument, ...] = Field((), description="Clusters of its offers that may be kept booted.")


class SiteDocument(Document):
    """A place with compute, in one jurisdiction and one trust zone."""

    name: Name = Field(description="Unique name.")
    description: Text | None = Field(None, description="For people.")
    jurisdiction: str = Field(description="The country it is in: ISO 3166-1 alpha-2 code in capitals.")
    trust_zone: TrustZone = Field(description="How far it is trusted, from public (least) to private (most).")
    simulated: bool = Field(
        False, strict=True, description="Whether its devices are local processes that stand for real ones."
    )
    egress_usd_per_gb: Usd = Field(0.0, description="USD for a gigabyte (10^9 bytes) that leaves this site.")
    bandwidth_mbps: Positive = Field(1000.0, description="Megabits per second in and out of this site.")
    pools: tuple[PoolDocument, ...] = Field(min_length=1, description="Its work pools.")

    def to_core(self, where: str, catalogue: Callable[[], Catalogue]) -> Site:
        """The core value.

        Args:
            catalogue: Called when an offer names a machine type.

        Raises:
            InputError: for what contradicts itself, with ``where`` and the path in the file.
        """
        with located(where):
            require_country(self.jurisdiction, "jurisdiction")
        pools = tuple(
            _pool(pool, self.jurisdiction, catalogue, where, f"pools[{pool_index}]")
            for pool_index, pool in enumerate(self.pools)
        )
        with located(where, renamed=_RENAMED):
            return Site(
                name=self.name,
                jurisdiction=self.jurisdiction,
                trust_zone=self.trust_zone,
                pools=pools,
                egress_micro_per_gb=micro_from_usd(self.egress_usd_per_gb),
                bandwidth_mbps=self.bandwidth_mbps,
                simulated=self.simulated,
            )


def _pool(pool: PoolDocument, jurisdiction: str, catalogue: Callable[[], Catalogue], where: str, path: str) -> Pool:
    settings = settings_of(pool, jurisdiction, where, path)
    place = place_of(settings)
    offers = []
    for index, offer in enumerate(pool.offers):
        at = f"{path}.offers[{index}]"
        known = None
        if place is not None and offer.instance_type is not None:
            known = catalogue().find(*place, offer.instance_type)
        _require_complete(offer, known, place, where, at)
        offers.append(_offer(offer, known, pool.cluster, where, at))
    warm = []
    for index, setting in enumerate(pool.warm):
        with located(where, f"{path}.warm[{index}]"):
            warm.append(setting.to_core())
    with located(where, path):
        return Pool(pool.name, pool.cluster, tuple(offers), **settings, warm=tuple(warm))


def _require_complete(
    offer: OfferDocument, known: MachineType | None, place: tuple[Provider, str] | None, where: str, path: str
) -> None:
    if known is not None and known.devices > 1:
        raise InputError(
            "SEVERAL_DEVICES",
            f"{offer.instance_type} has {known.devices} devices, of which a run would use one",
            join(where, f"{path}.instance_type"),
            "choose a machine type with one device",
        )
    missing = [key for key in _FROM_CATALOGUE if key not in offer.model_fields_set]
    if not missing or known is not None:
        return
    if place is None or offer.instance_type is None:
        raise InputError("MISSING_KEY", "the key is missing", join(where, f"{path}.{missing[0]}"), f"add {missing[0]}")
    raise InputError(
        "NOT_IN_CATALOGUE",
        f"{place[0]}'s {offer.instance_type} in {place[1]} is not in the catalogue, and the offer leaves out "
        + ", ".join(missing),
        join(where, f"{path}.instance_type"),
        f"write {' and '.join(missing)} here, or add the machine type: headrace catalogue --refresh FILE",
    )


def _offer(offer: OfferDocument, known: MachineType | None, cluster: Cluster, where: str, path: str) -> Offer:
    if cluster is Cluster.ATTACHED and offer.purchase is Purchase.SPOT:
        raise InputError(
            "CONTRADICTORY_OFFER",
            "a standing cluster cannot be spot",
            join(where, f"{path}.purchase"),
            "use owned or on_demand, or another kind of cluster",
        )
    said = offer.model_fields_set
    boot_s = known.boot_s if known is not None and known.boot_s is not None and "boot_s" not in said else offer.boot_s
    price = _price(offer, known, where, path)
    with located(where, path, _RENAMED):
        return Offer(
            name=offer.name,
            purchase=offer.purchase,
            device=offer.device if known is None or "device" in said else known.device,
            capacity=offer.capacity,
            memory_gb=offer.memory_gb if known is None or "memory_gb" in said else known.memory_gb,
            relative_speed=offer.relative_speed,
            price=price,
            boot_s=boot_s,
            interruptions_per_hour=offer.interruptions_per_hour,
            instance_type=offer.instance_type,
        )


def _price(offer: OfferDocument, known: MachineType | None, where: str, path: str) -> Price | None:
    """The offer's own price, or else the catalogue's; the offer's windows and its own end of validity hold for both."""
    base = (
        known.price(offer.purchase)
        if known is not None and "price_usd_per_hour" not in offer.model_fields_set
        else None
    )
    if offer.price_usd_per_hour is not None:
        base = Price(micro_from_usd(offer.price_usd_per_hour))
    if base is None:
        if offer.price_windows or offer.price_valid_until:
            raise InputError(
                "CONTRADICTORY_OFFER",
                "windows or an end of validity without a price",
                join(where, f"{path}.price_usd_per_hour"),
                "give the price or drop the rest",
            )
        return None
    windows = []
    for index, window in enumerate(offer.price_windows):
        with located(where, f"{path}.price_windows[{index}]", {"start": "from", "end": "to"}):
            windows.append(PriceWindow(minute_of(window.start), minute_of(window.end), window.factor))
    valid_until_at = base.valid_until_at if offer.price_valid_until is None else instant(offer.price_valid_until)
    return Price(base.micro_per_hour, valid_until_at, tuple(windows))


def load_site(path: str | Path, catalogue: Catalogue | None = None) -> Site:
    """The site of one file.

    Args:
        catalogue: The one beside the directory ``sites`` that the file is in, else the configured one, when not given.

    Raises:
        InputError: with the file and the dotted path of what is wrong, also in the catalogue when it is needed.
    """
    path = Path(path)
    return _load(path, _known(path.absolute().parent, catalogue))


def _load(path: Path, catalogue: Callable[[], Catalogue]) -> Site:
    return validated(SiteDocument, read_tree(path), display(path)).to_core(display(path), catalogue)


def _known(folder: Path, catalogue: Catalogue | None) -> Callable[[], Catalogue]:
    """The catalogue that belongs to a folder of site files, read once and only when it is needed."""

    @cache
    def read() -> Catalogue:
        beside = catalogue_path(folder)
        return load_catalogue(beside if folder.name == "sites" and beside.exists() else None)

    return read if catalogue is None else lambda: catalogue


def load_sites(directory: str | Path | None = None, catalogue: Catalogue | None = None) -> tuple[Site, ...]:
    """The sites of all ``*.yaml`` files of a directory, sorted by name.

    Args:
        directory: The configured ``sites/`` when it is not given.
        catalogue: As for :func:`load_site`.

    Raises:
        InputError: ``NO_SITES``, ``NAME_MISMATCH``, ``DUPLICATE_POOL`` or what :func:`load_site` raises.
    """
    folder = config_path("sites") if directory is None else Path(directory)
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise InputError("NO_SITES", "no site file", display(folder), "add one YAML file per site")
    known = _known(folder.absolute(), catalogue)
    sites: dict[str, Site] = {}
    pools: dict[str, str] = {}
    for path in files:
        site = _load(path, known)
        where = display(path)
        if site.name != path.stem:
            # Sites are looked up by their file's name, and so no name can stand twice.
            raise InputError(
                "NAME_MISMATCH", f"{site.name!r} in {path.name}", f"{where}: name", f"name the file {site.name}.yaml"
            )
        sites[site.name] = site
        for index, pool in enumerate(site.pools):
            if pool.name in pools:
                raise InputError(
                    "DUPLICATE_POOL",
                    f"pool {pool.name!r} is also at {pools[pool.name]}",
                    f"{where}: pools[{index}].name",
                    "a pool belongs to one site: rename one of them",
                )
            pools[pool.name] = site.name
    return tuple(sites[name] for name in sorted(sites))
