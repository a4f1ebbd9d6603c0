"""Site files: one YAML per site, what compute is there and what it costs."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from infra.core.errors import InputError
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from infra.core.jurisdictions import require_country
from infra.core.pricing import Price, PriceWindow
from infra.core.units import instant, micro_from_usd
from infra.documents.clusters import Ec2Document, SlurmDocument, settings_of
from infra.documents.fields import Count, Document, Instant, MinuteOfDay, Name, Number, Positive, Text, Usd, minute_of
from infra.documents.files import config_path, display, read_tree
from infra.documents.problems import join, located, validated

_RENAMED = {"egress_micro_per_gb": "egress_usd_per_gb", "price": "price_usd_per_hour"}


class PriceWindowDocument(Document):
    """A daily window in UTC in which the price is multiplied."""

    start: MinuteOfDay = Field(alias="from", description="First minute of the window, HH:MM in UTC.")
    end: MinuteOfDay = Field(alias="to", description="First minute after it; earlier than `from` to span midnight.")
    factor: Number = Field(description="Multiplier of price_usd_per_hour.")


class OfferDocument(Document):
    """Something that a pool can sell now."""

    name: Name = Field(description="Unique within the site.")
    purchase: Purchase = Field(description="How it is paid for.")
    device: Name = Field(description="Kind of device, for example gpu-l4.")
    capacity: Count = Field(description="How many devices of it exist.")
    memory_gb: Positive = Field(description="Memory of one device in gigabytes (10^9 bytes).")
    relative_speed: Positive = Field(1.0, description="Throughput of one device; the reference device has 1.0.")
    price_usd_per_hour: Usd | None = Field(
        description="USD for one device for one hour; null when it is not known, and then nothing is placed here."
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
        pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$",
        description="Kind of machine with one such device, for example g5.xlarge; for pools with cluster: ec2.",
    )


class PoolDocument(Document):
    """A Prefect work pool at the site."""

    name: Name = Field(description="Name of the Prefect work pool; unique among all sites.")
    cluster: Cluster = Field(
        description="How a run gets its Dask cluster: attached (a standing one), local (the built-in simulated cloud), "
        "ec2 (machines of AWS EC2, started for it) or slurm (jobs in an on-prem queue)."
    )
    ec2: Ec2Document | None = Field(None, description="Where and how machines are started; for cluster: ec2.")
    slurm: SlurmDocument | None = Field(None, description="How jobs are put into the queue; for cluster: slurm.")
    offers: tuple[OfferDocument, ...] = Field(min_length=1, description="What the pool sells.")


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

    def to_core(self, where: str) -> Site:
        """The core value.

        Raises:
            InputError: for what contradicts itself, with ``where`` and the path in the file.
        """
        with located(where):
            require_country(self.jurisdiction, "jurisdiction")
        pools = tuple(
            _pool(pool, self.jurisdiction, where, f"pools[{pool_index}]") for pool_index, pool in enumerate(self.pools)
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


def _pool(pool: PoolDocument, jurisdiction: str, where: str, path: str) -> Pool:
    settings = settings_of(pool, jurisdiction, where, path)
    offers = tuple(
        _offer(offer, pool.cluster, where, f"{path}.offers[{index}]") for index, offer in enumerate(pool.offers)
    )
    with located(where, path):
        return Pool(pool.name, pool.cluster, offers, **settings)


def _offer(offer: OfferDocument, cluster: Cluster, where: str, path: str) -> Offer:
    if cluster is Cluster.ATTACHED and offer.purchase is Purchase.SPOT:
        raise InputError(
            "CONTRADICTORY_OFFER",
            "a standing cluster cannot be spot",
            join(where, f"{path}.purchase"),
            "use owned or on_demand, or another kind of cluster",
        )
    price = None
    if offer.price_usd_per_hour is not None:
        windows = []
        for index, window in enumerate(offer.price_windows):
            with located(where, f"{path}.price_windows[{index}]", {"start": "from", "end": "to"}):
                windows.append(PriceWindow(minute_of(window.start), minute_of(window.end), window.factor))
        valid_until_at = None if offer.price_valid_until is None else instant(offer.price_valid_until)
        price = Price(micro_from_usd(offer.price_usd_per_hour), valid_until_at, tuple(windows))
    elif offer.price_windows or offer.price_valid_until:
        raise InputError(
            "CONTRADICTORY_OFFER",
            "windows or an end of validity without a price",
            join(where, f"{path}.price_usd_per_hour"),
            "give the price or drop the rest",
        )
    with located(where, path, _RENAMED):
        return Offer(
            name=offer.name,
            purchase=offer.purchase,
            device=offer.device,
            capacity=offer.capacity,
            memory_gb=offer.memory_gb,
            relative_speed=offer.relative_speed,
            price=price,
            boot_s=offer.boot_s,
            interruptions_per_hour=offer.interruptions_per_hour,
            instance_type=offer.instance_type,
        )


def load_site(path: str | Path) -> Site:
    """The site of one file.

    Raises:
        InputError: with the file and the dotted path of what is wrong.
    """
    path = Path(path)
    return validated(SiteDocument, read_tree(path), display(path)).to_core(display(path))


def load_sites(directory: str | Path | None = None) -> tuple[Site, ...]:
    """The sites of all ``*.yaml`` files of a directory, sorted by name.

    Args:
        directory: The configured ``sites/`` when it is not given.

    Raises:
        InputError: ``NO_SITES``, ``NAME_MISMATCH``, ``DUPLICATE_POOL`` or what :func:`load_site` raises.
    """
    folder = config_path("sites") if directory is None else Path(directory)
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise InputError("NO_SITES", "no site file", display(folder), "add one YAML file per site")
    sites: dict[str, Site] = {}
    pools: dict[str, str] = {}
    for path in files:
        site = load_site(path)
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
