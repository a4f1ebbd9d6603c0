"""What a site's worker writes down, so that a permit is honoured once and a killed worker's runs are accounted for.

Under the site's directory::

    permits/<permit>.json      which flow run used this permit; made before anything else, never removed
    runs/<lease>/record.json   an attempt in progress: its lease, its flow run, its process
    runs/<lease>/context.json  what its flow process is given (credentials: 0600)
    runs/<lease>/cache/        the flow process's own directory; of a warm attempt also what became of its cluster
    outbox/<name>.jws          signed reports that the object store has not taken yet
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from infra.core.canonical import plain
from infra.core.errors import RefusedError, UnavailableError
from infra.ports import Lease, ObjectStore
from infra.processes import ProcessIdentity, write_private

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True)
class AttemptNote:
    """An attempt that this site works on, as written down before anything of it exists.

    Attributes:
        ready_at: When its cluster was usable, once it was.
        process: Its flow process, once there is one.
        warm: Whether its cluster idles for another attempt to take; see :mod:`infra.worker.warm`.
        cluster_lease: The warm attempt's lease whose cluster it may have taken; empty for none.
    """

    lease: Lease
    permit_id: str
    flow_run_id: str
    ready_at: float | None = None
    process: ProcessIdentity | None = None
    warm: bool = False
    cluster_lease: str = ""


class SiteState:
    """The files of one site."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._permits, self._runs, self._outbox = directory / "permits", directory / "runs", directory / "outbox"
        for path in (directory, self._permits, self._runs, self._outbox):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def claim_permit(self, permit_id: str, flow_run_id: str, at: float) -> None:
        """Use a permit up, once and for ever.

        Raises:
            RefusedError: ``PERMIT_REPLAYED`` when it was used before, be it by the same flow run.
            UnavailableError: ``WRITE_FAILED`` when it cannot be written down: then it must not be honoured.
        """
        path = self._permits / f"{_file_name(permit_id)}.json"
        draft = path.with_name(f".{path.name}.{os.getpid()}.{_file_name(flow_run_id)}")
        write_private(draft, json.dumps({"permit": permit_id, "flow_run_id": flow_run_id, "claimed_at": at}).encode())
        try:
            # A link fails when the name exists, and is never half there: the claim is atomic and whole.
            os.link(draft, path)
        except FileExistsError:
            user = self._user_of(path)
            problem = "it was used by this very run before" if user == flow_run_id else f"flow run {user} used it"
            raise RefusedError(
                "PERMIT_REPLAYED", problem, f"permit {permit_id}", "start the run through its deployment again"
            ) from None
        except OSError as problem:
            raise UnavailableError("WRITE_FAILED", f"{problem}", str(path), "free some space") from problem
        finally:
            draft.unlink(missing_ok=True)

    @staticmethod
    def _user_of(path: Path) -> str:
        try:
            return str(json.loads(path.read_bytes())["flow_run_id"])
        except (OSError, KeyError, TypeError, ValueError):
            return "(unreadable)"

    def run_dir(self, lease_id: str) -> Path:
        return record_of(self._runs, lease_id).parent

    def context_file(self, lease_id: str) -> Path:
        return self.run_dir(lease_id) / "context.json"

    def cache_dir(self, lease_id: str) -> Path:
        return self.run_dir(lease_id) / "cache"

    def note(self, note: AttemptNote) -> AttemptNote:
        """Write an attempt down, or what is new about it."""
        self.cache_dir(note.lease.id).mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(record_of(self._runs, note.lease.id), json.dumps(plain(note)).encode())
        return note

    def noted(self, lease_id: str) -> AttemptNote | None:
        """The attempt in progress with this lease; ``None`` when there is none."""
        try:
            return _read_note(record_of(self._runs, lease_id))
        except (OSError, KeyError, TypeError, ValueError):
            return None

    def notes(self) -> tuple[AttemptNote, ...]:
        """Attempts that are written down as in progress."""
        found = []
        for path in sorted(self._runs.glob("*/record.json")):
            try:
                found.append(_read_note(path))
            except (OSError, KeyError, TypeError, ValueError):
                # A record is written whole or not at all: this one was spoilt from outside. It is kept for a person;
                # its cluster ends with its lease.
                path.rename(path.with_name("record.broken"))
        return tuple(found)

    def forget(self, lease_id: str) -> None:
        """Remove an attempt's files, its credentials first."""
        self.context_file(lease_id).unlink(missing_ok=True)
        shutil.rmtree(self.run_dir(lease_id), ignore_errors=True)

    def post(self, key: str, token: str) -> None:
        """Put a signed report into the outbox; :meth:`deliver` takes it from there."""
        write_private(self._letter(key), json.dumps({"key": key, "token": token}).encode())

    def holds(self, key: str) -> bool:
        """Whether the report of this key waits in the outbox."""
        return self._letter(key).exists()

    def _letter(self, key: str) -> Path:
        return self._outbox / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

    def deliver(self, store: ObjectStore) -> int:
        """Hand the outbox to the object store; what it does not take stays.

        Returns:
            How many reports are still here.
        """
        left = 0
        for path in sorted(self._outbox.glob("*.json")):
            try:
                content = path.read_bytes()
                letter = json.loads(content)
                store.put(letter["key"], letter["token"].encode())
                if path.read_bytes() == content:
                    path.unlink()
            except FileNotFoundError:
                continue
            except Exception:
                # Whatever the store's library throws, the report is still here and is tried again.
                left += 1
        return left


def record_of(runs: Path, lease_id: str) -> Path:
    """The record of the attempt with this lease, under the directory of a site's runs."""
    return runs / _file_name(lease_id) / "record.json"


def _read_note(path: Path) -> AttemptNote:
    """The attempt that is written down there; ``OSError``, ``KeyError``, ``TypeError`` or ``ValueError`` when none is."""
    document = json.loads(path.read_bytes())
    process = document["process"]
    return AttemptNote(
        **{
            **document,
            "lease": Lease(**document["lease"]),
            "process": ProcessIdentity(**process) if process else None,
        }
    )


def with_process(note: AttemptNote, pid: int) -> AttemptNote:
    """The note with its flow process."""
    return replace(note, process=ProcessIdentity.of(pid))


def _file_name(name: str) -> str:
    """A name that is safe as one; others are replaced by their digest."""
    return name if _SAFE_NAME.fullmatch(name) else hashlib.sha256(name.encode()).hexdigest()
