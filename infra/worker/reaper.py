"""Ends what outlived its lease (invariant I4): the last of several guards, and the only one that looks from outside.

Machines end themselves at their lease's end and when their holder is gone, so in ordinary life there is nothing to
reap. The reaper asks each cluster provider of a site to compare what exists with the leases, which were written before
anything was started; it can be run by anybody at any time, also twice at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from infra.adapters.local_cloud.records import LeaseDirectory, read_json
from infra.core.errors import HeadraceError
from infra.core.inventory import Cluster, Site
from infra.ports import ClusterProvider, Reaped, ReapReason
from infra.worker.providers import provider_of

__all__ = ["ReapReason", "Reaped", "SiteReaper", "forget_closed", "reap"]

KEEP_CLOSED_S = 14 * 86_400.0


class SiteReaper:
    """Looks after one site, with all the providers that it has or once had.

    Args:
        state_dir: The site's state directory; one that does not exist has nothing to reap.
        site: Its file, for clouds in which nothing is written down yet.
        environ: Where credentials of clouds are found.

    Attributes:
        problems: What kept the last round from seeing everything: clouds that did not answer.
    """

    def __init__(self, state_dir: Path, site: Site | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._state_dir, self._site, self._environ = Path(state_dir), site, environ
        self._made: dict[Cluster, ClusterProvider] = {}
        self.problems: list[HeadraceError] = []

    def reap(self, now_at: float, grace_s: float = 10.0, dry_run: bool = False) -> list[Reaped]:
        """End every cluster and claim of the site whose lease has ended or whose holder is gone.

        Args:
            now_at: Seconds since the epoch.
            grace_s: How long after its hard end a lease may still be ending by itself.
            dry_run: Only tell what would be done.
        """
        self.problems = []
        reaped: list[Reaped] = []
        if not self._state_dir.exists():
            return reaped
        for kind in self._kinds():
            try:
                reaped += self._provider(kind).reap(now_at, grace_s, dry_run)
            except HeadraceError as problem:
                self.problems.append(problem)
        return reaped

    def leases(self) -> list[str]:
        """Leases of the site for which something still exists, at whatever provider.

        Raises:
            UnavailableError: ``CLOUD_UNREACHABLE``.
        """
        if not self._state_dir.exists():
            return []
        return sorted({lease for kind in self._kinds() for lease in self._provider(kind).leases()})

    def _kinds(self) -> list[Cluster]:
        pools = self._site.pools if self._site is not None else ()
        written = {found.document().get("provider") for found in LeaseDirectory.all(self._state_dir)}
        wanted = {pool.cluster.value for pool in pools} | written | {Cluster.LOCAL.value, Cluster.ATTACHED.value}
        return [kind for kind in Cluster if kind.value in wanted]

    def _provider(self, kind: Cluster) -> ClusterProvider:
        if kind not in self._made:
            self._made[kind] = provider_of(kind, self._state_dir, environ=self._environ)
            self._add_places(kind, self._made[kind])
        return self._made[kind]

    def _add_places(self, kind: Cluster, provider: ClusterProvider) -> None:
        for pool in self._site.pools if self._site is not None else ():
            if pool.cluster is kind and pool.settings is not None:
                provider.add_place(pool.settings)  # type: ignore[attr-defined]


def reap(state_dir: Path, now_at: float, grace_s: float = 10.0, dry_run: bool = False) -> list[Reaped]:
    """One round of a :class:`SiteReaper`."""
    return SiteReaper(state_dir).reap(now_at, grace_s, dry_run)


def forget_closed(state_dir: Path, now_at: float, keep_s: float = KEEP_CLOSED_S) -> list[str]:
    """Delete the files of leases that were closed longer than ``keep_s`` seconds ago; returns the leases' ids."""
    forgotten = []
    for directory in LeaseDirectory.all(state_dir):
        closed, lease = read_json(directory.path / "closed.json"), directory.lease()
        if closed is not None and lease is not None and now_at - closed["closed_at"] > keep_s:
            shutil.rmtree(directory.path, ignore_errors=True)
            forgotten.append(lease.id)
    return forgotten
