"""What one worker process is told: its pool, whether it enforces permits, which flows it may run, and its tempo.

A worker of the pool ``control`` runs entry flows with the control plane's environment. A worker of any other pool
stands at a site and runs permitted site work only; there is no third way, so a mistyped pool name never opens a door.

Environment beyond :mod:`infra.settings`: ``HEADRACE_FLOW_PACKAGES`` (packages whose flows the control pool may run),
``HEADRACE_SITE_FLOWS`` (entrypoints that a site may run), ``HEADRACE_PRELOAD`` (modules that flow-run processes start
with), ``HEADRACE_POLL_S``.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from infra.core.errors import InputError, RefusedError
from infra.core.units import require_number
from infra.settings import CONTROL_POOL, SiteSettings

SITE_FLOW = "flows.site_run.site_run"
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_CONTROL_PRELOAD = ("prefect", "prefect.flow_engine", "prefect.engine", "prefect.artifacts", "sqlalchemy", "jwt")
_SITE_PRELOAD = (
    "prefect",
    "prefect.flow_engine",
    "prefect.engine",
    "prefect.artifacts",
    "distributed",
    "pandas",
    "pyarrow.parquet",
    "torch",
)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of one worker process.

    Attributes:
        pool: The Prefect work pool that it serves.
        site: The site whose permits it enforces; ``None`` for the control pool.
        flow_packages: Packages whose flows the control pool runs.
        site_flows: Dotted entrypoints that a site runs.
        preload: Modules that are imported once, before flow-run processes are forked.
        poll_s: Time between two looks for new runs when no event wakes the worker.
        grace_s: Time that a flow has between SIGTERM and SIGKILL.
    """

    pool: str
    site: SiteSettings | None
    flow_packages: tuple[str, ...] = ("flows",)
    site_flows: tuple[str, ...] = (SITE_FLOW,)
    preload: tuple[str, ...] = ()
    poll_s: float = 1.0
    grace_s: float = 8.0

    def __post_init__(self) -> None:
        require_number(self.poll_s, "worker: HEADRACE_POLL_S", minimum=0.05)
        require_number(self.grace_s, "worker: grace_s", exclusive=True)

    @property
    def enforces_permits(self) -> bool:
        return self.site is not None

    @classmethod
    def from_env(cls, pool: str, environ: Mapping[str, str] = os.environ) -> WorkerSettings:
        """Settings of the worker of ``pool``.

        Raises:
            InputError: ``SETTING_MISSING`` or ``WRONG_SITE`` when the environment is not that of the pool's site.
        """
        site = None if pool == CONTROL_POOL else SiteSettings.from_env(environ)
        if site is not None and site.site != pool:
            raise InputError(
                "WRONG_SITE",
                f"the environment is that of site {site.site!r}",
                f"worker of pool {pool!r}",
                "a site's pool has the site's name; start site workers through `headrace up`",
            )
        try:
            poll_s = float(environ.get("HEADRACE_POLL_S") or 1.0)
        except ValueError:
            poll_s = float("nan")
        flow_packages = _names(environ, "HEADRACE_FLOW_PACKAGES", ("flows",))
        site_flows = _names(environ, "HEADRACE_SITE_FLOWS", (SITE_FLOW,))
        modules = _SITE_PRELOAD if site else _CONTROL_PRELOAD
        known_flows = tuple(flow.rpartition(".")[0] for flow in site_flows) if site else _modules_of(flow_packages)
        return cls(
            pool=pool,
            site=site,
            flow_packages=flow_packages,
            site_flows=site_flows,
            preload=_names(environ, "HEADRACE_PRELOAD", (*modules, *known_flows)),
            poll_s=poll_s,
        )

    def require_flow(self, entrypoint: str | None) -> str:
        """Return the deployment's entrypoint when this pool may run it.

        Raises:
            RefusedError: ``FLOW_NOT_ALLOWED``.
        """
        allowed = self.site_flows if self.enforces_permits else tuple(f"{name}.*" for name in self.flow_packages)
        if entrypoint and _DOTTED.fullmatch(entrypoint) and self._runs(entrypoint):
            return entrypoint
        raise RefusedError(
            "FLOW_NOT_ALLOWED",
            f"this pool does not run {entrypoint!r}" if entrypoint else "a run without a deployment names no flow",
            f"pool {self.pool}",
            f"start a deployment of {', '.join(allowed)}",
        )

    def _runs(self, entrypoint: str) -> bool:
        if self.enforces_permits:
            return entrypoint in self.site_flows
        return entrypoint not in self.site_flows and any(
            entrypoint.startswith(f"{package}.") for package in self.flow_packages
        )


def _names(environ: Mapping[str, str], variable: str, default: tuple[str, ...]) -> tuple[str, ...]:
    text = environ.get(variable)
    return tuple(name for name in re.split(r"[\s,]+", text) if name) if text else default


def _modules_of(packages: tuple[str, ...]) -> tuple[str, ...]:
    """Dotted names of the modules directly inside these packages, without importing them."""
    found: list[str] = []
    for package in packages:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            names = sorted(os.listdir(folder)) if os.path.isdir(folder) else ()
            found += [f"{package}.{name[:-3]}" for name in names if name.endswith(".py") and name != "__init__.py"]
    return tuple(found)
