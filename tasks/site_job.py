"""What a site is asked to do, what it is given to do it with, and what it hands back.

A ``SiteWork`` travels as a parameter of the site's flow run and is bound into the permit by its digest. At the site
it becomes a ``SiteJob``: the same work with the permitted data, a Dask client and fenced places to write to. The
functions in ``tasks/training``, ``tasks/evaluation``, ``tasks/embedding`` and ``tasks/inference`` turn a ``SiteJob``
into a ``SiteResult`` and know nothing of Prefect, permits or money.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from infra.core.canonical import ADDED
from infra.core.workload import WorkKind
from tasks.departures import Departures, none_announced

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client


@dataclass(frozen=True, slots=True)
class InputRef:
    """A dataset version to read.

    Attributes:
        role: What the work calls it: ``data``, ``model``, ``champion``, ``vectors``.
        prefix: Key prefix of its files in a site's store, for example ``datasets/mnist5k/v1``.
        source_site: The site that it is read from; another site than the run's own means egress.
    """

    role: str
    name: str
    version: str
    prefix: str
    source_site: str
    manifest_sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class SiteWork:
    """One attempt's work, as plain JSON values.

    Attributes:
        parameters: The kind's own, all JSON.
        lighter: Names the work when it is a lighter one than was asked for; its checkpoints lie under that name.
    """

    run_id: str
    attempt: int
    kind: WorkKind
    inputs: tuple[InputRef, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    lighter: str = field(default="", metadata=ADDED)


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that the attempt wrote, relative to the attempt's prefix."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class SiteResult:
    """What an attempt hands back.

    Attributes:
        units_done: Work done by this attempt in the kind's unit (less than asked for when it resumed).
        metrics: Named numbers for people and gates.
        outputs: Every file that belongs to the result; their hashes make it complete or not.
        detail: Small JSON values for the record (confusion matrix, loss curve, search examples).
    """

    units_done: float
    metrics: dict[str, float]
    outputs: tuple[OutputFile, ...]
    detail: dict[str, Any] = field(default_factory=dict)


class SiteInputs(Protocol):
    """The permitted datasets, by role. Anything else is refused: RefusedError DATASET_NOT_PERMITTED."""

    def frame(self, role: str) -> pd.DataFrame:
        """All Parquet parts of the dataset as one frame, hashes checked against its manifest."""

    def read(self, role: str, path: str) -> bytes:
        """One file of the dataset (a model's weights), its hash checked."""

    def has(self, role: str) -> bool: ...


class AttemptOutputs(Protocol):
    """Fenced place for one attempt's files. Nothing here is visible to others until the control plane publishes."""

    def write(self, path: str, data: bytes) -> OutputFile: ...


class Checkpoints(Protocol):
    """Checkpoints of a run, kept over its attempts. Only whole ones are ever seen."""

    def save(self, step: int, data: bytes, done: float = 0.0) -> None:
        """Keep a state. ``done`` is the share of the run's whole work that it stands for, where that is known."""

    def latest(self) -> tuple[int, bytes] | None:
        """The checkpoint with the highest step, of whatever attempt."""

    def save_part(self, name: str, data: bytes) -> None:
        """Keep a finished partition, once; a second save of the same name is a no-op."""

    def parts(self) -> Iterator[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class SiteJob:
    """Everything that a kind's function needs.

    Attributes:
        client: A Dask client of the lease's cluster, TLS on.
        workers: Addresses of the Dask workers that this lease may use; work is pinned to them.
        progress: ``progress(done, total, message)`` in the kind's units; cheap to call often.
        departures: Workers that are taken back soon.
    """

    work: SiteWork
    client: Client
    workers: tuple[str, ...]
    inputs: SiteInputs
    outputs: AttemptOutputs
    checkpoints: Checkpoints
    progress: Callable[[float, float, str], None]
    departures: Departures = none_announced
