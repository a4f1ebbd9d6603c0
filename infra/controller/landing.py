"""The landing watcher: finds new dataset versions in the object store and tells Prefect about each, once.

It polls, so it works alike on a local directory and on S3, and what landed while it was down is found at the next
look. An arrival is remembered in the store after its event was accepted: a crash in between sends the event again,
with the same id, and the run that it starts claims the arrival in the catalogue, so that only one run works on it.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from data_contracts.layout import LANDING, is_version
from data_contracts.manifest import MANIFEST_NAME, parse_manifest
from infra.adapters.objects import WatchableStore
from infra.core.canonical import canonical
from infra.core.errors import InputError, UnavailableError
from infra.core.units import iso
from infra.ports import Clock

EVENT_NAME = "headrace.dataset.arrived"
ARRIVALS = "arrivals"
_EVENT_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:headrace:dataset-arrivals")

logger = logging.getLogger("headrace.landing")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A version that landed.

    Attributes:
        key: The file, or the manifest of the folder.
        content_sha256: Of the file, or of the manifest (which stands for the parts).
    """

    dataset: str
    version: str
    key: str
    content_sha256: str
    found_at: float

    @property
    def event_id(self) -> uuid.UUID:
        """The same for the same content, whoever finds it and however often."""
        return uuid.uuid5(_EVENT_IDS, f"{self.dataset}/{self.version}/{self.content_sha256}")

    @property
    def memory_key(self) -> str:
        return f"{ARRIVALS}/{self.dataset}/{self.version}.json"

    @property
    def payload(self) -> dict[str, str]:
        """What the event carries and triggers may use."""
        return {
            "dataset": self.dataset,
            "version": self.version,
            "key": self.key,
            "content_sha256": self.content_sha256,
        }

    def __str__(self) -> str:
        return f"{self.dataset}@{self.version} arrived ({self.key}, sha256 {self.content_sha256[:12]})"


class LandingWatcher:
    """Looks for versions under ``landing/``.

    Attributes:
        problems: What lies in landing and is no arrival, by key, as errors; each is logged once.
    """

    def __init__(
        self,
        store: WatchableStore,
        datasets: Iterable[str] | Callable[[], Iterable[str]],
        emit: Callable[[Arrival], None],
        clock: Clock,
        may_read: Callable[[str], bool] | None = None,
    ) -> None:
        """Make a watcher.

        Args:
            datasets: Names of the datasets that have a contract, or a function that gives them anew each time.
            emit: Sends the event; raises when it was not accepted.
            may_read: Whether this process may read a dataset's bytes (residency); without it, all.
        """
        self._store, self._emit, self._clock = store, emit, clock
        self._datasets = datasets if callable(datasets) else lambda names=tuple(datasets): names
        self._may_read = may_read or (lambda dataset: True)
        self._fingerprints: dict[str, str] = {}
        self._announced: set[tuple[str, str]] = set()
        self.problems: dict[str, InputError] = {}

    def scan(self) -> list[Arrival]:
        """Look once and announce what is new; returns the arrivals whose events were accepted.

        An event that is not accepted is logged and sent at a later scan; the other arrivals go on.
        """
        announced = []
        for arrival in self.find():
            try:
                self._emit(arrival)
                self._remember(arrival)
            except UnavailableError as error:
                logger.warning("%s was not announced yet: %s", arrival, error)
                continue
            announced.append(arrival)
        return announced

    def find(self) -> list[Arrival]:
        """New versions that are complete. A single file counts once it was the same in two looks, one after another."""
        versions, problems = self._sorted_keys()
        seen: dict[str, str] = {}
        found = []
        for (dataset, version), keys in sorted(versions.items()):
            if self._is_known(dataset, version):
                continue
            try:
                arrival = self._arrival(dataset, version, keys, seen, problems)
            except InputError as error:
                # A broken contract holds its own dataset up and no other.
                problems[f"{LANDING}/{dataset}/{version}"] = error
                continue
            except UnavailableError as error:
                if error.code != "NOT_FOUND":
                    raise
                # It was taken away while being looked at.
                continue
            if arrival is not None:
                found.append(arrival)
        self._fingerprints = seen
        for key in problems.keys() - self.problems.keys():
            logger.warning("ignored in landing: %s", problems[key])
        self.problems = problems
        return found

    def _sorted_keys(self) -> tuple[dict[tuple[str, str], list[str]], dict[str, InputError]]:
        """Keys by dataset and version, and what belongs to none."""
        known = set(self._datasets())
        versions: dict[tuple[str, str], list[str]] = {}
        problems: dict[str, InputError] = {}
        for key in self._store.list(LANDING):
            _, *parts = key.split("/")
            if any(part.startswith(".") for part in parts):
                # Hidden files are how editors and copy tools keep what is not finished.
                continue
            if len(parts) < 2 or (len(parts) == 2 and not parts[1].endswith(".parquet")):
                remedy = "land <dataset>/<version>.parquet, or <dataset>/<version>/ with a manifest.json"
                problems[key] = InputError("UNEXPECTED_FILE", "neither a version nor part of one", key, remedy)
                continue
            dataset, version = parts[0], parts[1].removesuffix(".parquet") if len(parts) == 2 else parts[1]
            if dataset not in known:
                remedy = f"add a contract for it, or use one of: {', '.join(sorted(known))}"
                place = f"{LANDING}/{dataset}"
                problems[place] = InputError("UNKNOWN_DATASET", f"{dataset!r} has no contract", place, remedy)
            elif not is_version(version):
                place = f"{LANDING}/{dataset}/{parts[1]}"
                problems[place] = InputError("BAD_VERSION_NAME", f"{version!r} names no version", place, "rename it")
            else:
                versions.setdefault((dataset, version), []).append(key)
        return versions, problems

    def _is_known(self, dataset: str, version: str) -> bool:
        if (dataset, version) not in self._announced:
            if not self._store.exists(f"{ARRIVALS}/{dataset}/{version}.json"):
                return False
            self._announced.add((dataset, version))
        return True

    def _arrival(
        self, dataset: str, version: str, keys: list[str], seen: dict[str, str], problems: dict[str, InputError]
    ) -> Arrival | None:
        place = f"{LANDING}/{dataset}/{version}"
        file_key, manifest_key = f"{place}.parquet", f"{place}/{MANIFEST_NAME}"
        if file_key in keys and len(keys) > 1:
            problems[place] = InputError("LANDED_TWICE", "a file and a folder of one version", place, "remove one")
            return None
        key = file_key if file_key in keys else manifest_key
        if key not in keys:
            return None
        if not self._may_read(dataset):
            problems[place] = InputError(
                "RESIDENCY_EXCLUDED",
                "this process may not read it",
                place,
                "run the control plane where it may be read",
            )
            return None
        if key == file_key:
            seen[key] = self._store.fingerprint(key)
            if self._fingerprints.get(key) != seen[key]:
                return None
            content_sha256 = hashlib.sha256(self._store.get(key)).hexdigest()
        else:
            content_sha256 = _manifest_sha256(self._store.get(key), key)
        return Arrival(dataset, version, key, content_sha256, self._clock.now())

    def _remember(self, arrival: Arrival) -> None:
        memory = arrival.payload | {"event_id": str(arrival.event_id), "announced_at": iso(arrival.found_at)}
        self._store.put_new(arrival.memory_key, canonical(memory))
        self._announced.add((arrival.dataset, arrival.version))


def _manifest_sha256(data: bytes, key: str) -> str:
    try:
        return parse_manifest(data, key).sha256
    except InputError:
        # Whoever checks the version will say what is wrong; here only its identity matters.
        return hashlib.sha256(data).hexdigest()


def emit_arrival(arrival: Arrival) -> None:
    """Send the event ``headrace.dataset.arrived`` and wait until the Prefect API has accepted it.

    Raises:
        UnavailableError: ``EVENT_NOT_SENT`` when it did not; sending again is safe.
    """
    from infra.adapters.prefect_events import send_event

    resource = (f"headrace.dataset.{arrival.dataset}", arrival.dataset)
    send_event(arrival.event_id, arrival.found_at, EVENT_NAME, resource, arrival.payload)
