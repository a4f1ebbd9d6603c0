"""The catalogue of dataset versions, the history of past runs and the sightings of spot capacity, in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from infra.adapters import control_rules as rules
from infra.adapters.memory.state import Shelf, State
from infra.core.inventory import DatasetVersion
from infra.core.spot.sightings import SpotSighting
from infra.core.workload import WorkKind
from infra.ports import CatalogEntry, Observation

LATEST = "latest"


class MemoryCatalog:
    """A :class:`infra.ports.Catalog`; see there for what each call promises."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def accept(self, version: DatasetVersion, uri: str, manifest_sha256: str, at: float) -> None:
        rules.require_version_name(version.name, version.version)
        with self._shelf.transaction():
            accepted = self._shelf.state.accepted
            key = (version.name, version.version)
            before = accepted.get(key)
            if before is None:
                accepted[key] = CatalogEntry(version, uri, manifest_sha256, at)
                return
            if before.manifest_sha256 != manifest_sha256:
                raise rules.version_exists(version.name, version.version, before.manifest_sha256)
            copies = rules.merged_copies(before.version.copies, version.copies)
            accepted[key] = replace(before, version=replace(before.version, copies=copies))

    def quarantine(
        self,
        name: str,
        version: str,
        uri: str,
        report: dict[str, Any],
        at: float,
        described: DatasetVersion | None = None,
    ) -> None:
        rules.require_version_name(name, version)
        with self._shelf.transaction():
            state = self._shelf.state
            known = described or next((entry.version for entry in _newest_first(state, name)), None)
            if known is None:
                raise rules.unknown_residency(name, version)
            shown = replace(known, name=name, version=version, bytes=described.bytes if described else 0, copies=())
            state.quarantined.pop((name, version), None)
            state.quarantined[name, version] = CatalogEntry(shown, uri, "", at, quarantined=True, report=dict(report))

    def find(self, name: str, version: str) -> CatalogEntry | None:
        with self._shelf.looking() as state:
            if version == LATEST:
                return next(iter(_newest_first(state, name)), None)
            return state.accepted.get((name, version)) or state.quarantined.get((name, version))

    def versions(self, name: str | None = None) -> tuple[CatalogEntry, ...]:
        with self._shelf.looking() as state:
            entries = [*state.accepted.values(), *state.quarantined.values()]
            named = [entry for entry in entries if name in (None, entry.version.name)]
            return tuple(sorted(named, key=lambda entry: entry.recorded_at)[::-1])

    def claim_arrival(self, dataset: str, version: str, content_sha256: str, flow_run_id: str) -> bool:
        with self._shelf.transaction():
            holder = self._shelf.state.arrivals.setdefault((dataset, version, content_sha256), flow_run_id)
            return holder == flow_run_id


class MemoryHistory:
    """A :class:`infra.ports.History`; see there for what each call promises."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def add(self, observation: Observation) -> None:
        rules.require_observation(observation)
        with self._shelf.transaction():
            self._shelf.state.observations.setdefault((observation.run_id, observation.attempt), observation)

    def observations(self, limit_per_kind: int = 200) -> tuple[Observation, ...]:
        with self._shelf.looking() as state:
            seen: Counter[WorkKind] = Counter()
            kept = []
            for observation in sorted(state.observations.values(), key=lambda past: past.at)[::-1]:
                seen[observation.kind] += 1
                if seen[observation.kind] <= limit_per_kind:
                    attempt = state.attempts.get((observation.run_id, observation.attempt))
                    warm = attempt is not None and attempt.permit.cluster_lease != ""
                    placed_at = attempt.started_at if attempt else None
                    kept.append(replace(observation, placed_at=placed_at, warm=warm))
            return tuple(kept)


class MemorySpotStore:
    """A :class:`infra.ports.SpotStore`; see there for what each call promises."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def add(self, sighting: SpotSighting) -> None:
        with self._shelf.transaction():
            key = (sighting.run_id, sighting.attempt, sighting.what)
            self._shelf.state.sightings.setdefault(key, sighting)

    def sightings(self, limit_per_offer: int = 200) -> tuple[SpotSighting, ...]:
        with self._shelf.looking() as state:
            seen: Counter[tuple[str, str]] = Counter()
            kept = []
            for sighting in sorted(state.sightings.values(), key=lambda each: each.at)[::-1]:
                seen[sighting.site, sighting.offer] += 1
                if seen[sighting.site, sighting.offer] <= limit_per_offer:
                    kept.append(sighting)
            return tuple(kept)


def _newest_first(state: State, name: str) -> list[CatalogEntry]:
    """Accepted versions of one dataset."""
    named = [entry for entry in state.accepted.values() if entry.version.name == name]
    return sorted(named, key=lambda entry: entry.recorded_at)[::-1]
