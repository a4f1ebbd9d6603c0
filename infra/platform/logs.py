"""Logs of the platform's components: one file each, kept small, readable by their owner alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

_MOST_BYTES = 8_000_000
_KEPT = 2


def path_of(logs_dir: Path, name: str) -> Path:
    return logs_dir / f"{name}.log"


@contextmanager
def opened(logs_dir: Path, name: str) -> Iterator[BinaryIO]:
    """The component's log, for appending: several writers and a truncation in between do each other no harm."""
    logs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with open(os.open(path_of(logs_dir, name), flags, 0o600), "ab", buffering=0) as log:
        yield log


def note(logs_dir: Path, name: str, text: str) -> None:
    """Add the supervisor's own line to a component's log."""
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    with opened(logs_dir, name) as log:
        log.write(f"{stamp} supervisor: {text}\n".encode())


def rotate_all(logs_dir: Path, most_bytes: int = _MOST_BYTES) -> None:
    """Copy every log that is larger than this aside and empty it in place: its writers keep their open files."""
    for path in logs_dir.glob("*.log"):
        if path.stat().st_size <= most_bytes:
            continue
        for age in range(_KEPT, 1, -1):
            younger = path.with_suffix(f".log.{age - 1}")
            if younger.exists():
                younger.replace(path.with_suffix(f".log.{age}"))
        copy = path.with_suffix(".log.1")
        shutil.copyfile(path, copy)
        os.chmod(copy, 0o600)
        os.truncate(path, 0)


def tail(path: Path, lines: int = 12) -> list[str]:
    """The last lines of a log."""
    try:
        with open(path, "rb") as log:
            log.seek(max(0, path.stat().st_size - 16_000))
            return log.read().decode("utf-8", errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
