"""The catalogue of machine types: files, what offers take from it, the command, and that bad input changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from infra.cli import build
from infra.core.catalogue import Catalogue, MachineType, Provider
from infra.core.errors import InputError
from infra.core.inventory import Offer, Purchase
from infra.core.placement.decide import decide
from infra.core.placement.decision import ReasonCode
from infra.core.pricing import Price, PriceWindow
from infra.core.units import instant
from infra.documents import load_site
from infra.documents.catalogue import catalogue_tree, load_catalogue, write_catalogue
from infra.documents.files import PACKAGED_CONFIG
from infra.documents.schemas import schema
from infra.documents.sites import load_sites
from tests.unit.document_samples import NOW_AT, request, snapshot
from tests.unit.test_documents_guide import _example
from tests.unit.test_ec2_parts import SITE_YAML

UNTIL = "2026-12-24T00:00:00Z"
UNTIL_AT = instant(UNTIL)
G5 = MachineType(
    Provider.AWS,
    "g5.xlarge",
    "gpu-a10g",
    24,
    "eu-central-1",
    1,
    Price(1_260_000, UNTIL_AT),
    Price(470_000, UNTIL_AT),
    90,
)
CSV = """\
provider,region,instance_type,device,devices,memory_gb,on_demand_usd_per_hour,spot_usd_per_hour,valid_until,boot_s
aws,eu-central-1,g5.xlarge,gpu-a10g,1,24,1.26,0.47,2026-12-24T00:00:00Z,90

aws,,g5.12xlarge,gpu-a10g,4,24,,,,
"""


def offer_yaml(**said: Any) -> dict[str, Any]:
    return {"name": "a", "purchase": "spot", "instance_type": "g5.xlarge", "capacity": 8, **said}


def written(folder: Path, machines: list[MachineType] | None, **said: Any) -> Path:
    """A configuration with one EC2 site; the site's file."""
    (folder / "sites").mkdir(exist_ok=True)
    tree = yaml.safe_load(SITE_YAML)
    tree["pools"][0]["offers"] = [offer_yaml(**said)]
    path = folder / "sites" / "aws-fra.yaml"
    path.write_text(json.dumps(tree))
    if machines is not None:
        write_catalogue(Catalogue(tuple(machines)), folder / "catalogue.yaml")
    return path


def sold(folder: Path, machines: list[MachineType] | None, **said: Any) -> Offer:
    [pool] = load_site(written(folder, machines, **said)).pools
    return pool.offers[0]


def test_the_guide_s_example_and_its_csv_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(_example("Catalogue"))
    (tmp_path / "c.csv").write_text(CSV)
    [from_yaml] = load_catalogue(tmp_path / "c.yaml").machines
    from_csv, several = load_catalogue(tmp_path / "c.csv").machines
    assert from_yaml == from_csv == G5
    assert several == MachineType(Provider.AWS, "g5.12xlarge", "gpu-a10g", 24, None, 4)


def test_the_packaged_catalogue_says_no_price_that_nobody_looked_up() -> None:
    path = PACKAGED_CONFIG / "catalogue.yaml"
    found = load_catalogue(path)
    assert len(found.machines) > 10
    assert all(machine.on_demand is None and machine.spot is None for machine in found.machines)
    assert Draft202012Validator(schema("catalogue")).is_valid(yaml.safe_load(path.read_text()))


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    found = Catalogue((G5, MachineType(Provider.OPENSTACK, "no", "cpu", 1.5), MachineType(Provider.GCP, "1e3", "x", 2)))
    write_catalogue(found, path)
    again = load_catalogue(path)
    assert set(again.machines) == set(found.machines)
    assert Draft202012Validator(schema("catalogue")).is_valid(catalogue_tree(found))
    assert [entry.name for entry in tmp_path.iterdir()] == ["catalogue.yaml"], "no temporary file is left"


def test_a_region_s_own_entry_comes_before_the_one_of_all() -> None:
    everywhere = MachineType(Provider.AWS, "g5.xlarge", "gpu-a10g", 24)
    found = Catalogue((everywhere, G5))
    assert found.find(Provider.AWS, "eu-central-1", "g5.xlarge") == G5
    assert found.find(Provider.AWS, "us-east-1", "g5.xlarge") == everywhere
    assert found.find(Provider.GCP, "eu-central-1", "g5.xlarge") is None
    assert Catalogue((G5,)).find(Provider.AWS, "us-east-1", "g5.xlarge") is None


def test_an_offer_takes_what_it_does_not_say(tmp_path: Path) -> None:
    offer = sold(tmp_path, [G5])
    assert (offer.device, offer.memory_gb, offer.boot_s) == ("gpu-a10g", 24, 90)
    assert offer.price == Price(470_000, UNTIL_AT)
    assert sold(tmp_path, [G5], purchase="on_demand").price == Price(1_260_000, UNTIL_AT)


@pytest.mark.parametrize(
    ("said", "field", "value"),
    [
        ({"device": "gpu-mine"}, "device", "gpu-mine"),
        ({"memory_gb": 22}, "memory_gb", 22),
        ({"boot_s": 0}, "boot_s", 0),
        ({"price_usd_per_hour": 0.5}, "price", Price(500_000)),
        ({"price_usd_per_hour": None}, "price", None),
        ({"price_usd_per_hour": 0.5, "price_valid_until": UNTIL}, "price", Price(500_000, UNTIL_AT)),
        ({"price_valid_until": "2026-12-01T00:00:00Z"}, "price", Price(470_000, instant("2026-12-01T00:00:00Z"))),
        (
            {"price_windows": [{"from": "22:00", "to": "06:00", "factor": 0.5}]},
            "price",
            Price(470_000, UNTIL_AT, (PriceWindow(1320, 360, 0.5),)),
        ),
    ],
)
def test_what_an_offer_says_counts(said: dict[str, Any], field: str, value: Any, tmp_path: Path) -> None:
    assert getattr(sold(tmp_path, [G5], **said), field) == value


def test_a_price_that_is_over_is_the_decision_s_refusal(tmp_path: Path) -> None:
    until_at = NOW_AT + 3600.0
    site = load_site(written(tmp_path, [replace(G5, spot=Price(470_000, until_at))]))
    world = replace(snapshot(), sites=(site,), loads=(), spot=(), health=())

    def reasons(now_at: float) -> set[str]:
        decided = decide(replace(request(), deadline_at=None), replace(world, now_at=now_at))
        return {reason.code for candidate in decided.candidates for reason in candidate.reasons}

    assert ReasonCode.PRICE_STALE in reasons(until_at + 1.0)
    assert ReasonCode.PRICE_STALE not in reasons(until_at - 60.0)


@pytest.mark.parametrize(
    ("machines", "said", "code", "path"),
    [
        ([], {}, "NOT_IN_CATALOGUE", "instance_type"),
        (None, {"instance_type": "g5.huge"}, "NOT_IN_CATALOGUE", "instance_type"),
        ([], {"device": "x", "memory_gb": 1}, "NOT_IN_CATALOGUE", "instance_type"),
        ([MachineType(Provider.AWS, "g5.xlarge", "x", 1, "us-east-1")], {}, "NOT_IN_CATALOGUE", "instance_type"),
        ([MachineType(Provider.AWS, "g5.xlarge", "x", 1, None, 4)], {}, "SEVERAL_DEVICES", "instance_type"),
        (
            [MachineType(Provider.AWS, "g5.xlarge", "x", 1, None, 4)],
            {"device": "x", "memory_gb": 1, "price_usd_per_hour": 1},
            "SEVERAL_DEVICES",
            "instance_type",
        ),
        ([MachineType(Provider.AWS, "g5.xlarge", "x", 1)], {"price_valid_until": UNTIL}, "CONTRADICTORY_OFFER", "price_usd_per_hour"),
        ([G5], {"instance_type": None}, "MISSING_KEY", "device"),
        ([G5], {"device": None}, "BAD_TYPE", "device"),
        ([G5], {"memory_gb": None}, "BAD_NUMBER", "memory_gb"),
        ([G5], {"memory_gb": 0}, "BAD_NUMBER", "memory_gb"),
        ([G5], {"device": ""}, "BAD_NAME", "device"),
    ],
)  # fmt: skip
def test_bad_offers(machines: list[MachineType] | None, said: dict, code: str, path: str, tmp_path: Path) -> None:
    file = written(tmp_path, machines, **said)
    with pytest.raises(InputError) as caught:
        load_site(file)
    assert (caught.value.code, caught.value.where) == (code, f"{file}: pools[0].offers[0].{path}")
    assert caught.value.remedy


def test_a_broken_catalogue_is_told_when_it_is_needed_only(tmp_path: Path) -> None:
    path = written(tmp_path, None)
    (tmp_path / "catalogue.yaml").write_text("machines: [{provider: aws}]")
    with pytest.raises(InputError) as caught:
        load_site(path)
    assert caught.value.where.startswith(f"{tmp_path / 'catalogue.yaml'}: machines[0]")
    (tmp_path / "sites" / "aws-fra.yaml").unlink()
    packaged = (PACKAGED_CONFIG / "sites" / "onprem-fra.yaml").read_text()
    (tmp_path / "sites" / "onprem-fra.yaml").write_text(packaged)
    assert len(load_sites(tmp_path / "sites")) == 1


LINE = "aws,eu-central-1,g5.xlarge,gpu-a10g,1,24,1.26,0.47,2026-12-24T00:00:00Z,90"
HEAD = CSV.splitlines()[0]


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        ("", "BAD_CSV", ""),
        (f"{HEAD}\naws,eu-central-1\n", "BAD_CSV", ": line 2"),
        (f'{HEAD}\n"{LINE}\n', "BAD_CSV", ": line 2"),
        (f"{HEAD.replace('device,', 'gpu,')}\n{LINE}\n", "UNKNOWN_KEY", ": line 1"),
        (f"{HEAD.replace('devices', 'device')}\n{LINE}\n", "DUPLICATE_KEY", ": line 1"),
        (f"{HEAD}\n{LINE}\n{LINE.replace('aws', 'ibm')}\n", "UNKNOWN_VALUE", ": machines[1].provider"),
        (f"{HEAD}\n{LINE.replace('gpu-a10g', '')}\n", "MISSING_KEY", ": machines[0].device"),
        (f"{HEAD}\n{LINE.replace('1.26', 'cheap')}\n", "BAD_MONEY", ": machines[0].on_demand_usd_per_hour"),
        (f"{HEAD}\n{LINE.replace('1.26', '-1')}\n", "BAD_MONEY", ": machines[0].on_demand_usd_per_hour"),
        (f"{HEAD}\n{LINE.replace('1.26', 'nan')}\n", "BAD_MONEY", ": machines[0].on_demand_usd_per_hour"),
        (f"{HEAD}\n{LINE.replace(',24,', ',0,')}\n", "BAD_NUMBER", ": machines[0].memory_gb"),
        (f"{HEAD}\n{LINE.replace(',1,24', ',0,24')}\n", "BAD_NUMBER", ": machines[0].devices"),
        (f"{HEAD}\n{LINE.replace(',1,24', ',1.5,24')}\n", "BAD_NUMBER", ": machines[0].devices"),
        (f"{HEAD}\n{LINE.replace(UNTIL, 'soon')}\n", "BAD_TIME", ": machines[0].valid_until"),
        (f"{HEAD}\n{LINE.replace(UNTIL, '')}\n", "MISSING_KEY", ": machines[0].valid_until"),
        (f"{HEAD}\n{LINE.replace('1.26,0.47', ',')}\n", "CONTRADICTORY_OFFER", ": machines[0].valid_until"),
        (f"{HEAD}\n{LINE}\n{LINE}\n", "DUPLICATE_ENTRY", ": machines[1]"),
        # All of it is right, but a site's offer would lose its machine type.
        (f"{HEAD}\n{LINE.replace('g5.xlarge', 'g6.xlarge')}\n", "NOT_IN_CATALOGUE", "aws-fra.yaml: pools[0].offers[0].instance_type"),
        (f"{HEAD}\n{LINE.replace(',1,24', ',2,24')}\n", "SEVERAL_DEVICES", "aws-fra.yaml: pools[0].offers[0].instance_type"),
    ],
)  # fmt: skip
def test_bad_input_changes_nothing(
    text: str, code: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, [G5])
    monkeypatch.setenv("HEADRACE_CONFIG", str(tmp_path))
    before = (tmp_path / "catalogue.yaml").read_bytes()
    (tmp_path / "new.csv").write_text(text)
    done = CliRunner().invoke(build(), ["catalogue", "--refresh", str(tmp_path / "new.csv"), "--json"])
    assert done.exit_code == 2, done.output
    assert f"{code} at " in done.stderr
    assert f"{where}: " in done.stderr
    assert (tmp_path / "catalogue.yaml").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalogue.yaml", "new.csv", "sites"]


def test_the_command_refreshes_and_marks_prices_that_are_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, [G5])
    monkeypatch.setenv("HEADRACE_CONFIG", str(tmp_path))
    old = "aws,us-east-1,g5.xlarge,gpu-a10g,1,24,1.006,,2020-01-01T00:00:00Z,\n"
    (tmp_path / "new.csv").write_text(CSV.replace(UNTIL, "2136-12-24T00:00:00Z") + old)
    done = CliRunner().invoke(build(), ["catalogue", "--refresh", str(tmp_path / "new.csv"), "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["refreshed"]
    assert [(row["instance_type"], row["region"], row["stale"]) for row in answer["machines"]] == [
        ("g5.12xlarge", None, False),
        ("g5.xlarge", "eu-central-1", False),
        ("g5.xlarge", "us-east-1", True),
    ]
    assert answer["machines"][1] == {
        "provider": "aws", "region": "eu-central-1", "instance_type": "g5.xlarge", "device": "gpu-a10g", "devices": 1,
        "memory_gb": 24, "on_demand_usd_per_hour": 1.26, "spot_usd_per_hour": 0.47, "valid_until": "2136-12-24T00:00:00Z",
        "stale": False, "boot_s": 90,
    }  # fmt: skip
    [site] = load_sites(tmp_path / "sites")
    price = site.pools[0].offers[0].price
    assert price == Price(470_000, instant("2136-12-24T00:00:00Z"))
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(build(), ["catalogue"])
    assert shown.exit_code == 0, shown.output
    assert "stale: 2020-01-01" in shown.stdout
    assert "4 × gpu-a10g" in shown.stdout
    assert "3 machine types" in shown.stdout
    assert "1 with prices that are over" in shown.stdout


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_catalogue(Catalogue((G5,)), tmp_path / "nowhere" / "catalogue.yaml")
    assert caught.value.code == "FILE_UNWRITABLE"


def test_spot_is_a_machine_s_other_price() -> None:
    assert G5.price(Purchase.SPOT) == G5.spot
    assert G5.price(Purchase.ON_DEMAND) == G5.price(Purchase.OWNED) == G5.on_demand
