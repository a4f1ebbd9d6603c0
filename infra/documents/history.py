"""Histories of past runs in CSV files, to check estimates against."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from infra.core.errors import InputError
from infra.core.placement.learning import Observation
from infra.core.units import require_instant, require_number
from infra.core.workload import WorkKind
from infra.documents.files import display, read_text
from infra.documents.problems import join, short, unknown

COLUMNS = ("kind", "device", "devices", "units", "run_s", "boot_s", "at")
"""``kind``, ``units`` and ``run_s`` are needed; the others are "gpu", 1, 0 and one run after the other when left out."""


def load_history(path: str | Path) -> tuple[Observation, ...]:
    """Past runs of a CSV file with a header of ``COLUMNS``, in its order. ``at`` is when a run ended, epoch seconds.

    Raises:
        InputError: ``BAD_HISTORY`` for a header without what is needed; else with the line of what is wrong.
    """
    path = Path(path)
    where = display(path)
    reader = csv.DictReader(io.StringIO(read_text(path)))
    columns = reader.fieldnames or []
    missing = [name for name in ("kind", "units", "run_s") if name not in columns]
    if missing:
        raise InputError("BAD_HISTORY", f"no column {', '.join(missing)}", where, f"give {', '.join(COLUMNS)}")
    found: list[Observation] = []
    ended_at = 0.0
    for line, row in enumerate(reader, start=2):
        place = join(where, f"line {line}")
        run_s, boot_s = _number(row, "run_s", place), _number(row, "boot_s", place, 0.0)
        ended_at = _number(row, "at", place, ended_at + run_s + boot_s)
        found.append(
            Observation(
                run_id=f"line-{line}",
                attempt=1,
                kind=_kind(row["kind"], place),
                site="",
                offer="",
                device=row.get("device") or "gpu",
                devices=int(require_number(_number(row, "devices", place, 1.0), f"{place}: devices", minimum=1)),
                units=_number(row, "units", place),
                run_s=run_s,
                boot_s=boot_s,
                at=require_instant(ended_at, f"{place}: at"),
            )
        )
    return tuple(found)


def _kind(text: str, where: str) -> WorkKind:
    try:
        return WorkKind(text)
    except ValueError:
        raise unknown("UNKNOWN_VALUE", "kind of work", text, list(WorkKind), f"{where}: kind") from None


def _number(row: dict[str, str], name: str, where: str, default: float | None = None) -> float:
    text = row.get(name)
    if not text and default is not None:
        return default
    try:
        number = float(text or "")
    except ValueError:
        raise InputError("BAD_NUMBER", f"{short(text)} is not a number", f"{where}: {name}", "give seconds") from None
    return require_number(number, f"{where}: {name}")
