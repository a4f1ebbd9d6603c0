"""Warm clusters at a site: each is handed to one run at most, whole, or to nobody.

What becomes of a warm cluster is told by one file in the warm attempt's own directory, ``cache/fate.json``. It is made
once and never changed, and whoever makes it first has settled the matter: an attempt that takes the cluster, the warm
run's process when it has idled for as long as it may, or the worker that ends the warm attempt. From then on the cluster
of a taken one belongs to the taker, which closes it; the warm attempt pays for it until the instant at which the taker's
lease was opened, and no longer.

The files are those of :mod:`infra.worker.site_state`: the taker is through when its record is gone.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.core.canonical import plain
from infra.core.errors import HeadraceError, UnavailableError
from infra.core.workload import WorkKind
from infra.ports import ClusterAddress, Lease
from infra.processes import write_private
from infra.worker.context import SiteContext
from infra.worker.site_state import AttemptNote, SiteState, record_of

KEEP_S = 600.0
"""For how long a warm cluster idles when its work does not say."""

REACH_S = 2.0
"""How long a scheduler may take to accept a connection before its cluster counts as gone."""

_FATE_FILE = "fate.json"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a warm cluster.

    Attributes:
        at: Since when it is somebody else's, or nobody's: the instant at which the taker's lease was opened.
        taker: The lease of the attempt that took it; empty when nobody will any more.
    """

    at: float
    taker: str = ""


def fate_of(cache_dir: Path) -> Fate | None:
    """What was settled about the warm attempt with this directory; ``None`` while it idles.

    A file that was spoilt from outside means that nobody may take the cluster.
    """
    try:
        document = json.loads((cache_dir / _FATE_FILE).read_bytes())
        return Fate(float(document["at"]), str(document["taker"]))
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError):
        return Fate(0.0)


def settle(cache_dir: Path, fate: Fate) -> Fate:
    """Settle what becomes of a warm cluster, unless that was settled before; what holds from now on.

    Raises:
        UnavailableError: ``WRITE_FAILED`` when it cannot be written down; then nothing is settled.
    """
    path = cache_dir / _FATE_FILE
    if not cache_dir.is_dir():
        # It must not be made anew for an attempt that is over.
        raise UnavailableError("WRITE_FAILED", "the warm attempt is over", str(path), "use another cluster")
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    write_private(draft, json.dumps(plain(fate)).encode())
    try:
        # A link fails when the name exists, and is never half there: one of several wins.
        os.link(draft, path)
    except FileExistsError:
        return fate_of(cache_dir) or Fate(0.0)
    except OSError as problem:
        raise UnavailableError("WRITE_FAILED", f"{problem}", str(path), "free some space") from problem
    finally:
        draft.unlink(missing_ok=True)
    return fate


def taker_is_through(cache_dir: Path, fate: Fate) -> bool:
    """Whether the attempt that took the cluster has closed it and was accounted for."""
    return not record_of(cache_dir.parent.parent, fate.taker).exists()


def reaches(scheduler: str) -> bool:
    """Whether somebody listens at a scheduler's address. Who it is shows when the run's client connects over TLS."""
    place = urlsplit(scheduler)
    try:
        with socket.create_connection((place.hostname or "", place.port or 0), REACH_S):
            return True
    except (OSError, ValueError):
        return False


def is_warm(work: Mapping[str, Any]) -> bool:
    """Whether this work keeps a cluster warm."""
    return work.get("kind") == WorkKind.WARM


def idle_s(work: Mapping[str, Any]) -> float:
    """How long the cluster of this work may stand idle; 0 for work that uses its own."""
    if not is_warm(work):
        return 0.0
    parameters = work.get("parameters")
    told = parameters.get("keep_s", KEEP_S) if isinstance(parameters, Mapping) else KEEP_S
    # The warm run itself says what is wrong with other values.
    return float(told) if type(told) in (int, float) and 0 < told < float("inf") else KEEP_S


class WarmRoom:
    """The warm clusters of one site. Its methods may be called from several threads and in any order.

    Args:
        reaches: Whether a scheduler can be reached; see :func:`reaches`.
    """

    def __init__(self, state: SiteState, reaches: Callable[[str], bool] = reaches) -> None:
        self._state, self._reaches = state, reaches

    def take(self, lease: Lease, warm_lease: str, now_at: float) -> ClusterAddress | None:
        """Hand the warm cluster of ``warm_lease`` to the attempt of ``lease``; ``None`` when it is not to be had.

        It has to be ready since before the attempt began, idle, alive, of the same pool, offer and number of devices, and
        its machines have to last for at least as long as the attempt's lease.
        """
        note = self._state.noted(warm_lease)
        if note is None or not _fits(note, lease):
            return None
        cache_dir = self._state.cache_dir(warm_lease)
        try:
            address = SiteContext.load(self._state.context_file(warm_lease)).cluster
            if fate_of(cache_dir) is not None:
                return None
            if not self._reaches(address.scheduler):
                # Nobody can use it: the warm run shall end, and its machines with it.
                settle(cache_dir, Fate(now_at))
                return None
            mine = Fate(lease.opened_at, lease.id)
            return address if settle(cache_dir, mine) == mine else None
        except HeadraceError:
            # Not up yet, over already, or it cannot be written down who has it: then nobody has.
            return None

    def keeps(self, note: AttemptNote, now_at: float) -> bool:
        """Whether a warm attempt that ends still has its cluster, and therefore has to close it.

        From now on nobody is given it. One that was taken is left to its taker, until that is through.
        """
        cache_dir = self._state.cache_dir(note.lease.id)
        try:
            fate = settle(cache_dir, Fate(now_at))
        except HeadraceError:
            fate = fate_of(cache_dir) or Fate(now_at)
        return not fate.taker or taker_is_through(cache_dir, fate)

    def charged_until(self, note: AttemptNote, now_at: float) -> float:
        """Until when an attempt pays for its machines, as far as that is known at ``now_at``."""
        fate = fate_of(self._state.cache_dir(note.lease.id)) if note.warm else None
        return fate.at if fate is not None and fate.taker else now_at


def _fits(note: AttemptNote, lease: Lease) -> bool:
    warm = note.lease
    return (
        note.warm
        and note.ready_at is not None
        # Money is split at the instant at which the taker's lease was opened: before that the cluster was up.
        and note.ready_at <= lease.opened_at
        and lease.ends_at <= warm.ends_at
        and (warm.site, warm.pool, warm.offer, warm.devices) == (lease.site, lease.pool, lease.offer, lease.devices)
    )
