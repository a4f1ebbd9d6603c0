"""Questions that tell whether a component works. Answers: yes, no, or ``None`` when it cannot be known now."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from infra.adapters.clusters_attached import standing_cluster
from infra.processes import ProcessIdentity

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Straight to this machine, whatever proxy the environment names."""


class Probe(Protocol):
    def __call__(self, process: ProcessIdentity, started_at: float, now: float) -> bool | None: ...


def ask(url: str, body: Any = None, timeout_s: float = 2.0) -> Any:
    """GET (or POST, with a body) and decode JSON; ``None`` for an empty answer.

    Raises:
        OSError: The server did not answer, or answered with an error (``urllib.error.HTTPError``).
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data is not None else {}
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - only ever http://127.0.0.1
    with _OPENER.open(request, timeout=timeout_s) as answer:
        text = answer.read()
    return json.loads(text) if text else None


@dataclass(frozen=True, slots=True)
class HttpAnswers:
    """Ready when this address answers with success."""

    url: str

    def __call__(self, process: ProcessIdentity, started_at: float, now: float) -> bool | None:
        try:
            ask(self.url)
        except (OSError, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class FileAppears:
    """Ready when the component has touched its file (see :func:`infra.processes.notify_ready`)."""

    path: Path

    def __call__(self, process: ProcessIdentity, started_at: float, now: float) -> bool | None:
        return self.path.exists()


@dataclass(frozen=True, slots=True)
class WorkerBeats:
    """Ready when a worker of this pool has sent a heartbeat since the process started, and not too long ago."""

    api_url: str
    pool: str
    fresh_s: float = 45.0

    def __call__(self, process: ProcessIdentity, started_at: float, now: float) -> bool | None:
        try:
            workers = ask(f"{self.api_url}/work_pools/{self.pool}/workers/filter", {})
        except urllib.error.HTTPError:
            return False
        except (OSError, ValueError):
            return None
        beats = [worker.get("last_heartbeat_time") for worker in workers]
        newest = max((datetime.fromisoformat(beat).timestamp() for beat in beats if beat), default=0.0)
        return newest >= max(started_at, now - self.fresh_s)


@dataclass(frozen=True, slots=True)
class StandingClusterServes:
    """Ready when the site's standing cluster has announced itself and its supervisor lives."""

    state_dir: Path

    def __call__(self, process: ProcessIdentity, started_at: float, now: float) -> bool | None:
        return standing_cluster(self.state_dir) is not None


@dataclass(frozen=True, slots=True)
class Never:
    """For tasks: they are done when they end."""

    def __call__(self, process: ProcessIdentity, started_at: float, now: float) -> bool | None:
        return None
