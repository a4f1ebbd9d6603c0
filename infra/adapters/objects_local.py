"""An object store in a local directory: one file per key, written beside its place and renamed into it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.core.errors import InputError, UnavailableError
from infra.core.object_keys import TEMPORARY_PREFIX, require_key, require_prefix

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True, slots=True)
class LocalStore:
    """Objects as files under ``root``; safe for many processes on one machine.

    A key cannot be a file and a folder at once (``a`` beside ``a/b``): on a directory that is an InputError.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(os.path.abspath(self.root)))

    @property
    def uri(self) -> str:
        return self.root.as_uri()

    def _path(self, key: str) -> Path:
        """The file of a key. A symbolic link that leads out of the root is refused like a ``..`` would be."""
        path = self.root / require_key(key)
        real, real_root = os.path.realpath(path), os.path.realpath(self.root)
        if not real.startswith(real_root.rstrip(os.sep) + os.sep):
            raise InputError("BAD_KEY", "a symbolic link leads out of the store", f"key {key!r}", "remove the link")
        return path

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._translated(key), self._written(path, data) as temporary:
            os.replace(temporary, path)
            _sync_directory(path.parent)

    def put_new(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        if os.path.lexists(path):
            return False
        with self._translated(key), self._written(path, data) as temporary:
            try:
                # A hard link either appears whole or fails because somebody else's is there: no window between.
                os.link(temporary, path)
            except FileExistsError:
                return False
            _sync_directory(path.parent)
        return True

    def get(self, key: str) -> bytes:
        path = self._path(key)
        with self._translated(key):
            try:
                return path.read_bytes()
            except _ABSENT:
                raise self._not_found(key) from None

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str) -> list[str]:
        start = require_prefix(prefix)
        found = []
        for folder, _, names in os.walk(self.root / start):
            for name in names:
                path = os.path.join(folder, name)
                if not name.startswith(TEMPORARY_PREFIX) and not os.path.islink(path):
                    found.append(os.path.relpath(path, self.root).replace(os.sep, "/"))
        return sorted(found)

    def size(self, key: str) -> int:
        return self._stat(key).st_size

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._translated(key), contextlib.suppress(*_ABSENT):
            path.unlink()

    def fingerprint(self, key: str) -> str:
        status = self._stat(key)
        return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"

    def sweep(self, older_than_s: float, now_at: float) -> int:
        """Remove what writers that died left behind, when it is older than ``older_than_s``; returns how many."""
        removed = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                if name.startswith(TEMPORARY_PREFIX):
                    with contextlib.suppress(FileNotFoundError):
                        if path.stat().st_mtime < now_at - older_than_s:
                            path.unlink()
                            removed += 1
        return removed

    def _stat(self, key: str) -> os.stat_result:
        path = self._path(key)
        if not path.is_file():
            raise self._not_found(key)
        try:
            return path.stat()
        except _ABSENT:
            raise self._not_found(key) from None

    def _not_found(self, key: str) -> UnavailableError:
        return UnavailableError("NOT_FOUND", "no such object", f"{self.uri}/{key}", "check the key")

    @contextlib.contextmanager
    def _written(self, path: Path, data: bytes) -> Iterator[Path]:
        """A complete, synced temporary file beside ``path``, gone afterwards whatever happens."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        where = f"{self.uri}/{key}"
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise UnavailableError("STORE_FULL", "no space left", where, "free space, then try again") from error
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise UnavailableError("STORE_DENIED", str(error), where, "let this user write there") from error
            if isinstance(error, NotADirectoryError | IsADirectoryError | FileExistsError):
                problem = "a key cannot be an object and a folder at once in a local store"
                raise InputError("BAD_KEY", problem, where, "choose another key") from error
            if isinstance(error, FileNotFoundError):
                raise
            raise UnavailableError("STORE_FAILED", str(error), where, "look at the disk, then try again") from error


def _sync_directory(folder: Path) -> None:
    """Make a new name survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
