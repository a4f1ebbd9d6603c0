"""The table of what runs: each component's command, environment, readiness and needs.

Who is told what is decided here. The Prefect server knows its own database only. The control worker, the controller and
the set-up task get the control plane's settings: database address, permit signing key. A site's worker and its
standing cluster get that site's directory and key, the permit *public* key, the object store and the Prefect API.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.adapters.clusters_attached import standing_cluster_command
from infra.adapters.security_tokens import sees_whole_store
from infra.core.inventory import Cluster, Site
from infra.faults import FAULTS
from infra.platform.probes import FileAppears, HttpAnswers, Never, Probe, StandingClusterServes, WorkerBeats
from infra.platform.supervision import Lifecycle
from infra.processes import PLATFORM_MARK, READY_FILE
from infra.settings import CLOUD_PREFIX, CONTROL_POOL, REPOSITORY_DIR, Settings, SiteSettings

POOLS_MADE = "pools"
"""Milestone of the set-up task: every pool exists, so workers can begin."""

_INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
)
_INHERITED_PREFIXES = ("LC_", "OMP_", "MKL_")
_STORE_PREFIXES = ("AWS_", "FSSPEC_")
_STORE_ROLE = ("HEADRACE_STORE_ROLE_ARN", "HEADRACE_STORE_ROLE_MAX_S")
_CLUSTER_PRELOAD = ("pandas", "pyarrow.parquet", "torch")
_TUNING = (
    FAULTS,
    "HEADRACE_POLL_S",
    "HEADRACE_PRELOAD",
    "HEADRACE_LOG_LEVEL",
    "HEADRACE_FLOW_PACKAGES",
    "HEADRACE_SITE_FLOWS",
)


@dataclass(frozen=True, slots=True)
class Component:
    """One supervised process.

    Attributes:
        title: What `up` and `status` call it.
        environment: All of its environment but the platform's mark and its ready file.
        stop_rank: Lower ranks are stopped first.
        stop_grace_s: Time between SIGTERM and SIGKILL when the platform goes down.
    """

    name: str
    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    probe: Probe
    lifecycle: Lifecycle
    stop_rank: int = 0
    stop_grace_s: float = 10.0


def api_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def ready_file(settings: Settings, name: str) -> Path:
    return settings.run_dir / "ready" / name


def milestone_file(settings: Settings, name: str) -> Path:
    """Where a task records that it reached a milestone, and where waiting components look."""
    return settings.run_dir / "milestones" / name


def prefect_environment(prefect_home: Path, port: int) -> dict[str, str]:
    """Prefect's settings of a client on this machine: the embedded server, quiet, no reports to anybody."""
    return {
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_API_URL": api_url(port),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_LOGGING_COLORS": "false",
    }


def component_table(
    settings: Settings, sites: tuple[Site, ...], port: int, inherited: Mapping[str, str] = os.environ
) -> tuple[Component, ...]:
    """Everything that `headrace up` keeps running, for these sites and this port of the Prefect server."""
    base = {key: value for key, value in inherited.items() if key in _INHERITED or key.startswith(_INHERITED_PREFIXES)}
    tuning = {key: inherited[key] for key in _TUNING if key in inherited}
    store = {key: value for key, value in inherited.items() if key.startswith(_STORE_PREFIXES)}
    role = {name: inherited[name] for name in _STORE_ROLE if name in inherited}
    cloud = {key: value for key, value in inherited.items() if key.startswith(CLOUD_PREFIX)}
    control = {**base, **tuning, **store, **settings.environment(), **prefect_environment(settings.prefect_dir, port)}
    components = [
        _server(settings, base, port, inherited.get("HEADRACE_PREFECT_DATABASE_URL")),
        Component(
            name="setup",
            title="pools, blocks and deployments",
            command=_launch(settings, "infra.platform.setup"),
            environment=control,
            probe=Never(),
            lifecycle=Lifecycle(needs=("server",), eager=True, once=True, start_timeout_s=400.0),
        ),
        _worker(settings, CONTROL_POOL, "worker of the control pool", control, port),
        Component(
            name="controller",
            title="controller (arrivals, waiting runs, settlement, reaper)",
            command=_launch(settings, "infra.controller.main", after=("server", POOLS_MADE)),
            environment={**control, **cloud},
            probe=FileAppears(ready_file(settings, "controller")),
            lifecycle=Lifecycle(needs=("server", POOLS_MADE), eager=True),
        ),
    ]
    for site in sites:
        site_settings = settings.site_settings(site.name)
        client = prefect_environment(site_settings.directory / "prefect", port)
        environment = {**base, **tuning, **store, **role, **cloud, **site_settings.environment(), **client}
        if any(pool.cluster is Cluster.ATTACHED for pool in site.pools):
            name = f"cluster-{site.name}"
            components.append(
                Component(
                    name=name,
                    title=f"standing Dask cluster of {site.name}",
                    command=_standing_cluster(settings, site, site_settings.directory),
                    environment=base,
                    probe=StandingClusterServes(site_settings.directory),
                    lifecycle=Lifecycle(),
                    stop_rank=1,
                    stop_grace_s=5.0,
                )
            )
        components.append(_worker(settings, site.name, f"worker of site {site.name}", environment, port))
    return tuple(components)


def runs_see_whole_store(settings: Settings, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the runs of this platform's sites get credentials that open all of the store.

    Raises:
        InputError: A role for the store that cannot be one.
    """
    return sees_whole_store(
        SiteSettings.from_env({**environ, **settings.site_settings(settings.control_site).environment()})
    )


def _standing_cluster(settings: Settings, site: Site, state_dir: Path) -> tuple[str, ...]:
    """The cluster has a worker for each owned device of the site, with the heavy imports behind them."""
    pools = [pool for pool in site.pools if pool.cluster is Cluster.ATTACHED]
    devices = sum(offer.capacity for pool in pools for offer in pool.offers)
    command, _ = standing_cluster_command(site.name, devices, state_dir, _CLUSTER_PRELOAD)
    return _launch(settings, *command[command.index("-m") + 1 :])


def _launch(settings: Settings, module: str, *arguments: str, after: tuple[str, ...] = ()) -> tuple[str, ...]:
    waits = [f"--after={milestone_file(settings, name)}" for name in after]
    turn = f"--turn={settings.run_dir / 'imports.lock'}"
    return (sys.executable, "-m", "infra.platform.launch", turn, *waits, module, *arguments)


def _worker(settings: Settings, pool: str, title: str, environment: Mapping[str, str], port: int) -> Component:
    needs = ("server", POOLS_MADE)
    return Component(
        name=f"worker-{pool}",
        title=title,
        command=_launch(settings, "infra.worker.main", "--pool", pool, after=needs),
        environment=environment,
        probe=WorkerBeats(api_url(port), pool),
        lifecycle=Lifecycle(needs=needs, eager=True),
        stop_grace_s=15.0,
    )


def _server(settings: Settings, base: Mapping[str, str], port: int, database_url: str | None) -> Component:
    """The Prefect server as ``prefect server start`` runs it, without the command line's own second of imports."""
    command = (sys.executable, "-m", "uvicorn", "--factory", "infra.platform.prefect_server:create_app")
    options = ("--host", "127.0.0.1", "--port", str(port), "--timeout-keep-alive", "5", "--log-level", "warning")
    return Component(
        name="server",
        title="Prefect server",
        command=(*command, *options, "--timeout-graceful-shutdown", "3"),
        environment={
            **base,
            **prefect_environment(settings.prefect_dir, port),
            "PREFECT__SERVER_FINAL": "1",
            "PREFECT_API_DATABASE_CONNECTION_URL": database_url
            or f"sqlite+aiosqlite:///{settings.prefect_dir / 'server.db'}",
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_UI_API_URL": api_url(port),
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(settings.prefect_dir / "ui"),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        },
        probe=HttpAnswers(f"{api_url(port)}/ready"),
        lifecycle=Lifecycle(start_timeout_s=300.0),
        stop_rank=2,
        stop_grace_s=6.0,
    )


def marked_environment(settings: Settings, component: Component, platform_id: str) -> dict[str, str]:
    """What the process is started with: its own environment, the platform's mark and its ready file."""
    return {
        **component.environment,
        PLATFORM_MARK: platform_id,
        READY_FILE: str(ready_file(settings, component.name)),
        "PYTHONUNBUFFERED": "1",
    }


WORKING_DIR = REPOSITORY_DIR
