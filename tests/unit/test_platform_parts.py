"""Parts of the platform that need no server: settings, who is told what, logs, parameters, preparation."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from infra.adapters.sql import open_database
from infra.core.errors import InputError
from infra.core.units import micro_from_usd
from infra.documents.sites import load_sites
from infra.platform import logs
from infra.platform.components import component_table, runs_see_whole_store
from infra.platform.deployments import deployment_names
from infra.platform.overview import render
from infra.platform.prepare import prepare
from infra.platform.runs import parse_parameters
from infra.platform.state import ComponentReport, PlatformReport, read_report, write_report
from infra.platform.supervision import Phase
from infra.platform.supervisor import free_port
from infra.processes import ProcessIdentity
from infra.settings import Settings, SiteSettings

NOW_AT = 1_795_000_000.0  # November 2026
SECRET = {"HEADRACE_DATABASE_URL", "HEADRACE_PERMIT_KEY_FILE", "HEADRACE_TRUST_DIR", "HEADRACE_HOME"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"HEADRACE_HOME": str(tmp_path / "home")})


def test_settings_survive_their_environment(settings: Settings) -> None:
    assert Settings.from_env(settings.environment()) == settings
    told = settings.site_settings("onprem-fra")
    assert SiteSettings.from_env(told.environment()) == told


def test_a_site_without_its_variables_does_not_start() -> None:
    with pytest.raises(InputError) as caught:
        SiteSettings.from_env({"HEADRACE_SITE": "onprem-fra"})
    assert (caught.value.code, caught.value.where) == ("SETTING_MISSING", "HEADRACE_SITE_DIR")


def test_sites_are_told_nothing_of_the_control_plane(settings: Settings) -> None:
    inherited = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "HEADRACE_DATABASE_URL": "x", "MY_TOKEN": "t"}
    table = {item.name: item for item in component_table(settings, load_sites(settings.sites_dir), 4200, inherited)}
    sites = [name for name in table if name.startswith("worker-") and name != "worker-control"]
    assert len(sites) == 3
    for name in [*sites, "cluster-onprem-fra", "server"]:
        assert not SECRET & set(table[name].environment), name
        assert str(settings.permit_key_file) not in table[name].environment.values()
    for name in ("worker-control", "controller", "setup"):
        assert set(table[name].environment) >= SECRET
    assert not any("MY_TOKEN" in item.environment for item in table.values())
    assert "AWS_SECRET_ACCESS_KEY" not in {**table["server"].environment, **table["cluster-onprem-fra"].environment}
    homes = {table[name].environment["PREFECT_HOME"] for name in [*sites, "server"]}
    assert len(homes) == 4


def test_every_need_is_there(settings: Settings) -> None:
    table = component_table(settings, load_sites(settings.sites_dir), 4200, {})
    names = {item.name for item in table} | {"pools"}
    assert all(set(item.lifecycle.needs) <= names for item in table)


def test_secrets_do_not_show_in_a_component(settings: Settings) -> None:
    table = component_table(settings, (), 4200, {"AWS_SECRET_ACCESS_KEY": "hush-hush"})
    assert "hush-hush" not in repr(table)


ROLE = "arn:aws:iam::111122223333:role/headrace-runs"


def test_only_site_workers_are_told_of_the_stores_role(settings: Settings) -> None:
    inherited = {"HEADRACE_STORE_ROLE_ARN": ROLE, "HEADRACE_STORE_ROLE_MAX_S": "7200"}
    for item in component_table(settings, load_sites(settings.sites_dir), 4200, inherited):
        of_site = item.name.startswith("worker-") and item.name != "worker-control"
        assert (set(inherited) <= set(item.environment)) == of_site, item.name
        if of_site:
            told = SiteSettings.from_env(item.environment)
            assert (told.store_role_arn, told.store_role_max_s) == (ROLE, 7200)


@pytest.mark.parametrize(
    ("store_url", "role", "expected"),
    [("", "", False), ("s3://headrace/store", "", True), ("s3://headrace/store", ROLE, False)],
)
def test_whether_runs_see_the_whole_store(tmp_path: Path, store_url: str, role: str, expected: bool) -> None:
    environ = {"HEADRACE_HOME": str(tmp_path), "HEADRACE_STORE_URL": store_url, "HEADRACE_STORE_ROLE_ARN": role}
    assert runs_see_whole_store(Settings.from_env(environ), environ) is expected


def test_a_role_that_cannot_be_is_refused_before_anything_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_STORE_ROLE_ARN", "headrace-runs")
    settings = Settings.from_env({"HEADRACE_HOME": str(tmp_path / "home"), "HEADRACE_STORE_URL": "s3://headrace"})
    with pytest.raises(InputError, match="BAD_ROLE_ARN"):
        prepare(settings, NOW_AT)
    assert not settings.home.exists()


def test_status_says_that_runs_see_the_whole_store() -> None:
    tree = {
        "up": True,
        "since": "now",
        "ui": "u",
        "home": "h",
        "simulated": [],
        "problem": "",
        "runs": {},
        "revoked": [],
        "bursting_stopped": False,
    }
    tree |= {"components": [], "pools": []}
    assert "whole object store" in render({**tree, "whole_store": True})
    assert "whole object store" not in render({**tree, "whole_store": False})


def test_preparing_twice_changes_nothing_and_lowers_no_budget(settings: Settings) -> None:
    sites = prepare(settings, NOW_AT)
    key = settings.permit_key_file.read_bytes()
    assert stat.S_IMODE(settings.permit_key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    assert stat.S_IMODE(settings.site_dir(sites[0].name).stat().st_mode) == 0o700
    database = open_database(settings.database_url)
    database.ledger.set_limit("students", "2026-11", micro_from_usd(3), NOW_AT)
    database.close()
    prepare(settings, NOW_AT)
    assert settings.permit_key_file.read_bytes() == key
    database = open_database(settings.database_url)
    limits = {balance.tenant: balance.limit_micro for balance in database.ledger.balances("2026-11")}
    database.close()
    assert limits["students"] == micro_from_usd(3)
    assert limits["vision"] == micro_from_usd(25)
    for site in sites:
        assert settings.site_public_key_file(site.name).exists()
        told = settings.site_settings(site.name)
        assert told.permit_public_key_file.read_bytes() == settings.permit_public_key_file.read_bytes()
        assert told.key_file.read_bytes() != key


def test_a_wrong_control_site_is_refused_before_anything_exists(tmp_path: Path) -> None:
    settings = Settings.from_env({"HEADRACE_HOME": str(tmp_path / "home"), "HEADRACE_CONTROL_SITE": "atlantis"})
    with pytest.raises(InputError) as caught:
        prepare(settings, NOW_AT)
    assert caught.value.code == "UNKNOWN_SITE"
    assert "onprem-fra" in caught.value.remedy
    assert not settings.home.exists()


def test_reports_survive_the_file(settings: Settings) -> None:
    settings.run_dir.mkdir(parents=True)
    me = ProcessIdentity.of(os.getpid())
    assert me is not None
    row = ComponentReport("server", "Server", Phase.READY, 1.5, me, 1, 0, -9, "x.log")
    report = PlatformReport("id", me, 1.0, "a", "u", False, ("s",), (row,))
    write_report(settings, report)
    assert read_report(settings) == report
    assert report.complete
    died_since = replace(row, process=ProcessIdentity(me.pid, "another-boot:1"))
    assert not replace(report, components=(died_since,)).complete
    assert replace(report, components=(replace(died_since, phase=Phase.DONE),)).complete
    settings.run_dir.joinpath("state.json").write_text("{")
    assert read_report(settings) is None


def test_logs_are_rotated_in_place(tmp_path: Path) -> None:
    with logs.opened(tmp_path, "server") as held:
        held.write(b"old " * 100)
        logs.rotate_all(tmp_path, most_bytes=100)
        held.write(b"new\n")
        logs.rotate_all(tmp_path, most_bytes=100)
    assert logs.tail(tmp_path / "server.log") == ["new"]
    assert (tmp_path / "server.log.1").read_bytes() == b"old " * 100
    assert stat.S_IMODE((tmp_path / "server.log.1").stat().st_mode) == 0o600


def test_a_remembered_port_that_is_taken_is_given_up() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def test_parameters_from_a_file_and_from_assignments(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text('{"options": {"tenant": "vision"}}')
    found = parse_parameters(["options.devices=2", "dataset.name=mnist5k", 'options.residency=["EU"]'], file)
    assert found == {
        "options": {"tenant": "vision", "devices": 2, "residency": ["EU"]},
        "dataset": {"name": "mnist5k"},
    }


@pytest.mark.parametrize("assignment", ["novalue", "=1"])
def test_a_parameter_without_name_or_value_is_refused(assignment: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_parameters([assignment], None)
    assert caught.value.code == "BAD_PARAMETER"


def test_the_deployments_are_named_as_the_documentation_names_them(settings: Settings) -> None:
    names = deployment_names()
    assert {"training/digits", "evaluation/digits", "embedding-refresh/api-docs", "batch-inference/digits"} <= names
    assert "model-lifecycle/digits" in names
    assert {f"site-run/{site.name}" for site in load_sites(settings.sites_dir)} <= names
