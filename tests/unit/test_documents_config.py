"""Sites, policies with their cases, tenants and rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.core.errors import InputError
from infra.core.inventory import Cluster, Purchase, TrustZone
from infra.core.policy import PERMIT_ALL
from infra.core.pricing import Price, PriceWindow
from infra.core.units import instant
from infra.core.warm import WarmSetting
from infra.core.workload import WorkKind
from infra.documents import TenantBudget, load_policy, load_rates, load_site, load_sites, load_tenants
from infra.documents.files import PACKAGED_CONFIG
from infra.documents.policy_cases import run_cases
from tests.unit.document_samples import SITE_YAML

OFFER = "pools[0].offers[0]"


def _written(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_site(tmp_path) -> None:
    site = load_site(_written(tmp_path, "edge-osl.yaml", SITE_YAML))
    assert (site.name, site.jurisdiction, site.trust_zone) == ("edge-osl", "NO", TrustZone.PARTNER)
    assert (site.egress_micro_per_gb, site.bandwidth_mbps, site.simulated) == (20_000, 1000.0, True)
    (pool,) = site.pools
    assert (pool.name, pool.cluster) == ("edge-osl", Cluster.LOCAL)
    (offer,) = pool.offers
    assert offer.price == Price(420_000, instant("2026-12-01T00:00:00Z"), (PriceWindow(1320, 360, 0.5),))
    assert (offer.purchase, offer.boot_s, offer.interruptions_per_hour) == (Purchase.SPOT, 4.0, 0.05)


def test_unknown_price_is_said_and_not_left_out(tmp_path) -> None:
    plain = "\n".join(line for line in SITE_YAML.splitlines() if "price_v" not in line and "price_w" not in line)
    path = _written(tmp_path, "s.yaml", plain.replace("hour: 0.42", "hour: null"))
    assert load_site(path).pools[0].offers[0].price is None
    path.write_text(plain.replace("        price_usd_per_hour: 0.42\n", ""))
    with pytest.raises(InputError) as caught:
        load_site(path)
    assert (caught.value.code, caught.value.where) == ("MISSING_KEY", f"{path}: {OFFER}.price_usd_per_hour")


@pytest.mark.parametrize(
    ("old", "new", "code", "path"),
    [
        ("jurisdiction: NO", "jurisdiction: EU", "UNKNOWN_JURISDICTION", "jurisdiction"),
        ("jurisdiction: NO", "jurisdiction: no", "UNKNOWN_JURISDICTION", "jurisdiction"),
        ("trust_zone: partner", "trust_zone: medium", "UNKNOWN_VALUE", "trust_zone"),
        ("simulated: true", "simulated: false", "CONTRADICTORY_SITE", "simulated"),
        ("simulated: true", "simulated: 'true'", "BAD_TYPE", "simulated"),
        ("simulated: true", "simulted: true", "UNKNOWN_KEY", "simulted"),
        ("gb: 0.02", "gb: -0.02", "BAD_MONEY", "egress_usd_per_gb"),
        ("cluster: local", "cluster: k8s", "UNKNOWN_VALUE", "pools[0].cluster"),
        ("cluster: local", "cluster: attached", "CONTRADICTORY_OFFER", f"{OFFER}.purchase"),
        ("purchase: spot", "purchase: owned", "CONTRADICTORY_OFFER", f"{OFFER}.interruptions_per_hour"),
        ("capacity: 4", "capacity: 4.0", "BAD_NUMBER", f"{OFFER}.capacity"),
        ("capacity: 4", "capacity: 4.5", "BAD_NUMBER", f"{OFFER}.capacity"),
        ("capacity: 4", "capacity: -4", "BAD_NUMBER", f"{OFFER}.capacity"),
        ("memory_gb: 24", "memory_gb: 0", "BAD_NUMBER", f"{OFFER}.memory_gb"),
        ("memory_gb: 24", "memory_gb: .nan", "BAD_NUMBER", f"{OFFER}.memory_gb"),
        ("hour: 0.42", "hour: .inf", "BAD_MONEY", f"{OFFER}.price_usd_per_hour"),
        ("hour: 0.42", "hour: null", "CONTRADICTORY_OFFER", f"{OFFER}.price_usd_per_hour"),
        ("from: 22:00", "from: 24:00", "BAD_TIME", f"{OFFER}.price_windows[0].from"),
        ("to: 06:00", "to: 22:00", "BAD_WINDOW", f"{OFFER}.price_windows[0]"),
        ("factor: 0.5", "factor: -1", "BAD_NUMBER", f"{OFFER}.price_windows[0].factor"),
        ("until: 2026-12-01T00:00:00Z", "until: tomorrow", "BAD_TIME", f"{OFFER}.price_valid_until"),
        ("boot_s: 4", "boot_s: 4s", "BAD_NUMBER", f"{OFFER}.boot_s"),
        ("name: edge-osl\nj", "name: Édge\nj", "BAD_NAME", "name"),
        ("pools:", "pool:", "UNKNOWN_KEY", "pool"),
    ],
)
def test_bad_sites(old: str, new: str, code: str, path: str, tmp_path) -> None:
    assert old in SITE_YAML
    file = _written(tmp_path, "site.yaml", SITE_YAML.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_site(file)
    assert (caught.value.code, caught.value.where) == (code, f"{file}: {path}")
    assert caught.value.remedy


def test_sites_of_a_directory(tmp_path) -> None:
    with pytest.raises(InputError) as caught:
        load_sites(tmp_path)
    assert caught.value.code == "NO_SITES"
    _written(tmp_path, "edge-osl.yaml", SITE_YAML)
    twin = SITE_YAML.replace("name: edge-osl\nj", "name: alpha\nj")
    _written(tmp_path, "alpha.yaml", twin)
    with pytest.raises(InputError) as caught:
        load_sites(tmp_path)
    assert caught.value.code == "DUPLICATE_POOL"
    _written(tmp_path, "alpha.yaml", twin.replace("- name: edge-osl", "- name: alpha"))
    assert [site.name for site in load_sites(tmp_path)] == ["alpha", "edge-osl"]
    _written(tmp_path, "beta.yaml", SITE_YAML)
    with pytest.raises(InputError) as caught:
        load_sites(tmp_path)
    assert caught.value.code == "NAME_MISMATCH"


def test_packaged_configuration() -> None:
    sites = load_sites()
    assert [(site.name, site.jurisdiction, site.trust_zone.value, site.simulated) for site in sites] == [
        ("cloud-eu-central", "DE", "public", True),
        ("cloud-us-east", "US", "public", True),
        ("onprem-fra", "DE", "private", True),
    ]
    prices = {(site.name, offer.name): offer.price for site in sites for pool in site.pools for offer in pool.offers}
    assert all(price is not None for price in prices.values())
    assert prices["onprem-fra", "owned"] == Price(0)
    for offer in ("on-demand", "spot"):
        assert prices["cloud-us-east", offer].micro_per_hour < prices["cloud-eu-central", offer].micro_per_hour
    assert load_tenants() == (
        TenantBudget("vision", 25_000_000),
        TenantBudget("search", 10_000_000),
        TenantBudget("students", 0),
    )
    assert {rate.kind for rate in load_rates()} == set(WorkKind)
    assert all(
        result.passed for result in run_cases(load_policy(), PACKAGED_CONFIG / "policies" / "default.cases.yaml")
    )


def test_configuration_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HEADRACE_CONFIG", str(tmp_path))
    _written(tmp_path, "sites/edge-osl.yaml", SITE_YAML)
    _written(tmp_path, "policies/default.cedar", PERMIT_ALL)
    _written(tmp_path, "tenants.yaml", "tenants: [{name: a, monthly_budget_usd: 0.5}]")
    assert [site.name for site in load_sites()] == ["edge-osl"]
    assert (load_policy().text, load_policy().tenants) == (PERMIT_ALL, ())
    assert load_tenants() == (TenantBudget("a", 500_000),)
    with pytest.raises(InputError) as caught:
        load_rates()
    assert caught.value.code == "FILE_MISSING"


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        ("tenants: []", "BAD_TYPE", "tenants"),
        ("tenants: [{name: a}]", "MISSING_KEY", "tenants[0].monthly_budget_usd"),
        ("tenants: [{name: a, monthly_budget_usd: -1}]", "BAD_MONEY", "tenants[0].monthly_budget_usd"),
        ("tenants: [{name: a, monthly_budget_usd: .nan}]", "BAD_MONEY", "tenants[0].monthly_budget_usd"),
        (
            "tenants: [{name: a, monthly_budget_usd: 1}, {name: a, monthly_budget_usd: 2}]",
            "DUPLICATE_TENANT",
            "tenants[1].name",
        ),
    ],
)
def test_bad_tenants(text: str, code: str, path: str, tmp_path) -> None:
    file = _written(tmp_path, "tenants.yaml", text)
    with pytest.raises(InputError) as caught:
        load_tenants(file)
    assert (caught.value.code, caught.value.where) == (code, f"{file}: {path}")


@pytest.mark.parametrize(
    ("rate", "code", "path"),
    [
        ("kind: training, fixed_s: 1, spread: 0", "CONTRADICTORY_RATE", ""),
        ("kind: training, fixed_s: 1, spread: 0, unit_s: 1, units_per_s: 1", "CONTRADICTORY_RATE", ""),
        ("kind: training, fixed_s: 1, spread: 0, units_per_s: 0", "BAD_NUMBER", ".units_per_s"),
        ("kind: training, fixed_s: -1, spread: 0, unit_s: 1", "BAD_NUMBER", ".fixed_s"),
        ("kind: sleeping, fixed_s: 1, spread: 0, unit_s: 1", "UNKNOWN_VALUE", ".kind"),
    ],
)
def test_bad_rates(rate: str, code: str, path: str, tmp_path) -> None:
    file = _written(tmp_path, "rates.yaml", f"rates: [{{{rate}}}]")
    with pytest.raises(InputError) as caught:
        load_rates(file)
    assert (caught.value.code, caught.value.where) == (code, f"{file}: rates[0]{path}")


WARM_YAML = "    warm:\n      - {offer: spot, tenant: vision, devices: 2, most: 2, keep_s: 300}\n"


def test_a_pool_says_what_it_keeps_warm(tmp_path) -> None:
    (pool,) = load_site(_written(tmp_path, "edge-osl.yaml", SITE_YAML.rstrip("\n") + "\n" + WARM_YAML)).pools
    assert pool.warm == (WarmSetting("spot", "vision", 2, 2, 300.0, 3600.0),)


@pytest.mark.parametrize(
    ("old", "new", "code", "path"),
    [
        ("offer: spot", "offer: od", "UNKNOWN_OFFER", "pools[0].warm[0].offer"),
        ("most: 2", "most: 3", "CONTRADICTORY_POOL", "pools[0].warm[0].most"),
        ("tenant: vision, ", "", "MISSING_KEY", "pools[0].warm[0].tenant"),
        ("keep_s: 300", "keep_s: 0", "BAD_NUMBER", "pools[0].warm[0].keep_s"),
        ("keep_s: 300", "serve_s: 60", "BAD_NUMBER", "pools[0].warm[0].serve_s"),
        ("devices: 2", "devices: 0", "BAD_NUMBER", "pools[0].warm[0].devices"),
        ("devices: 2, ", "devices: 2, for: 3, ", "UNKNOWN_KEY", "pools[0].warm[0].for"),
    ],
)
def test_bad_warm_settings(old: str, new: str, code: str, path: str, tmp_path) -> None:
    assert old in WARM_YAML
    file = _written(tmp_path, "site.yaml", SITE_YAML.rstrip("\n") + "\n" + WARM_YAML.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_site(file)
    assert (caught.value.code, caught.value.where) == (code, f"{file}: {path}")
