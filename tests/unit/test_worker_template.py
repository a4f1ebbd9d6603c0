"""The pool's form and the flows that a pool runs: what an API call may choose, and what not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from infra.core.errors import InputError, RefusedError
from infra.worker import HeadraceWorker
from infra.worker.environment import base_environment, store_credentials
from infra.worker.settings import WorkerSettings
from infra.worker.template import HeadraceConfiguration

SITE_ENV = {
    "HEADRACE_SITE": "cloud-eu",
    "HEADRACE_SITE_DIR": "/srv/site",
    "HEADRACE_SITE_KEY_FILE": "/srv/site/key.pem",
    "HEADRACE_PERMIT_PUBLIC_KEY_FILE": "/srv/site/permit.pub.pem",
    "HEADRACE_STORE_URL": "s3://bucket",
}


def test_the_form_has_no_command_and_no_working_directory() -> None:
    template = HeadraceWorker.get_default_base_job_template()
    assert set(template["job_configuration"]) == set(template["variables"]["properties"])
    assert not {"command", "working_dir", "labels"} & set(template["job_configuration"])
    assert all(field["description"] for field in template["variables"]["properties"].values())
    assert HeadraceWorker.get_logo_url().startswith("data:image/svg+xml;base64,")


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "PATH", "PREFECT_API_URL", "HEADRACE_SITE_CONTEXT", "TZ\n", "HEADRACE_TAG_x"]
)
def test_job_variables_cannot_set_what_matters(name: str) -> None:
    with pytest.raises(ValidationError, match="ENV_NOT_ALLOWED"):
        HeadraceConfiguration(env={name: "1"})


def test_harmless_job_variables_are_kept() -> None:
    assert HeadraceConfiguration(env={"OMP_NUM_THREADS": "1", "HEADRACE_TAG_TEAM": "a"}).env["HEADRACE_TAG_TEAM"] == "a"


@pytest.mark.parametrize(
    "entrypoint", [None, "", "flows", "flows.site_run.site_run", "os.system", "flowsx.a.b", "flows/a.py:b"]
)
def test_the_control_pool_runs_entry_flows_only(entrypoint: str | None) -> None:
    settings = WorkerSettings.from_env("control", {})
    assert settings.require_flow("flows.training.training") == "flows.training.training"
    with pytest.raises(RefusedError, match="FLOW_NOT_ALLOWED"):
        settings.require_flow(entrypoint)


@pytest.mark.parametrize("entrypoint", ["flows.training.training", "flows.site_run.other", "flows.site_run", None])
def test_a_site_runs_the_site_flow_only(entrypoint: str | None) -> None:
    settings = WorkerSettings.from_env("cloud-eu", SITE_ENV)
    assert settings.enforces_permits
    assert settings.require_flow("flows.site_run.site_run") == "flows.site_run.site_run"
    with pytest.raises(RefusedError, match="FLOW_NOT_ALLOWED"):
        settings.require_flow(entrypoint)


@pytest.mark.parametrize(("pool", "code"), [("cloud-us", "WRONG_SITE"), ("Control", "WRONG_SITE")])
def test_no_other_pool_name_opens_a_door(pool: str, code: str) -> None:
    with pytest.raises(InputError, match=code):
        WorkerSettings.from_env(pool, SITE_ENV)
    with pytest.raises(InputError, match="SETTING_MISSING"):
        WorkerSettings.from_env(pool, {})


def test_a_site_flow_sees_neither_credentials_nor_the_control_plane() -> None:
    worker = SITE_ENV | {
        "PATH": "/bin",
        "HEADRACE_DATABASE_URL": "postgresql://secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "SOMETHING": "else",
        "PREFECT_HOME": "/other",
    }
    prefect = {"PREFECT_API_URL": "http://127.0.0.1/api"}
    site = base_environment(worker, prefect, {"TZ": "UTC"}, control=False)
    assert site == {"PATH": "/bin", "PREFECT_API_URL": "http://127.0.0.1/api", "TZ": "UTC"}
    control = base_environment(worker, prefect, {}, control=True)
    assert control["HEADRACE_DATABASE_URL"] == "postgresql://secret"
    assert "SOMETHING" not in control
    assert store_credentials(worker) == {"AWS_SECRET_ACCESS_KEY": "secret"}
