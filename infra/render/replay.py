"""Decides again from what was recorded, and compares byte for byte (invariant I5)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from infra.core.canonical import canonical
from infra.core.placement.decide import decide
from infra.documents import request_from_json, snapshot_from_json
from infra.ports import DecisionRecord


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two JSON values differ; a side that lacks it shows ``None``.

    Attributes:
        path: Where, for example ``decision.candidates[2].cost.compute_micro``.
    """

    path: str
    stored: Any
    recomputed: Any


@dataclass(frozen=True, slots=True)
class Replay:
    """One decision, recomputed.

    Attributes:
        stored_sha256, recomputed_sha256: Digests of the decision's canonical JSON.
        stored_engine, engine: Versions of the code that decided then and now.
        difference: ``None`` when every byte is the same.
    """

    run_id: str
    sequence: int
    stored_sha256: str
    recomputed_sha256: str
    stored_engine: str
    engine: str
    difference: Difference | None

    @property
    def identical(self) -> bool:
        return self.difference is None


def replayed(record: DecisionRecord) -> Replay:
    """Decode the stored request and snapshot, decide, and compare with the stored decision.

    The stored request and snapshot must themselves come back to the same bytes, else something was lost in them.

    Raises:
        InputError: the stored request or snapshot cannot be decoded.
    """
    where = f"decision {record.sequence} of run {record.run_id}"
    request = request_from_json(record.request_json, where)
    snapshot = snapshot_from_json(record.snapshot_json, where)
    decision = decide(request, snapshot)
    pairs = (
        ("request", record.request_json.encode(), canonical(request)),
        ("snapshot", record.snapshot_json.encode(), canonical(snapshot)),
        ("decision", record.decision_json.encode(), canonical(decision)),
    )
    difference = next((_difference(name, stored, again) for name, stored, again in pairs if stored != again), None)
    return Replay(
        record.run_id,
        record.sequence,
        hashlib.sha256(pairs[2][1]).hexdigest(),
        hashlib.sha256(pairs[2][2]).hexdigest(),
        str(json.loads(record.decision_json).get("engine", "")),
        decision.engine,
        difference,
    )


def _difference(name: str, stored: bytes, recomputed: bytes) -> Difference:
    found = first_difference(json.loads(stored), json.loads(recomputed), name)
    # Equal values in other bytes: the stored text is not canonical.
    return found or Difference(name, "other bytes for equal values", "canonical JSON")


def first_difference(stored: Any, recomputed: Any, path: str) -> Difference | None:
    """The first difference of two JSON values, depth first, keys in order."""
    if isinstance(stored, dict) and isinstance(recomputed, dict):
        steps = [(f"{path}.{key}", stored.get(key), recomputed.get(key)) for key in sorted({*stored, *recomputed})]
    elif isinstance(stored, list) and isinstance(recomputed, list):
        longest = range(max(len(stored), len(recomputed)))
        sides = [[side[index] if index < len(side) else None for index in longest] for side in (stored, recomputed)]
        steps = [(f"{path}[{index}]", *pair) for index, pair in enumerate(zip(*sides, strict=True))]
    else:
        # 1 and 1.0 are equal numbers and other bytes.
        same = stored == recomputed and type(stored) is type(recomputed)
        return None if same else Difference(path, stored, recomputed)
    return next((found for step in steps if (found := first_difference(step[1], step[2], step[0]))), None)
