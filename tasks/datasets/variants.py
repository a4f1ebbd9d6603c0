"""Later and broken versions of the datasets, with a record of what was done to which row."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.core.errors import InputError
from tasks.datasets.api_docs import text_sha256

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class ChangedDocs:
    """A later version of the documents.

    Attributes:
        changed: ``doc_id`` of documents whose text is another now.
        added: of documents that are new.
        removed: of documents that are gone.
    """

    frame: pd.DataFrame
    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


def changed_docs(frame: pd.DataFrame, seed: int = 2, share: float = 0.02) -> ChangedDocs:
    """A later version in which ``share`` of the rows changed, half as many were added and half as many removed.

    A changed document gains a note; an added one is the note of an unchanged document that became one of its own.

    Raises:
        InputError: ``BAD_NUMBER`` for a share that is not above 0 and at most 0.5.
    """
    import pandas as pd

    if not 0 < share <= 0.5:
        raise InputError("BAD_NUMBER", f"share {share!r}", "share", "give a number above 0 and at most 0.5")
    draw = random.Random(seed)  # noqa: S311 - a repeatable choice of rows
    ids = list(frame["doc_id"])
    count = max(1, round(len(ids) * share))
    half = max(1, count // 2)
    picked = draw.sample(ids, min(len(ids), count + 2 * half))
    changed = sorted(picked[:count])
    removed = sorted(picked[count : count + half])
    parents = sorted(picked[count + half :])
    by_id = frame.set_index("doc_id")
    rows = []
    for doc_id in ids:
        package, text = by_id.at[doc_id, "package"], by_id.at[doc_id, "text"]
        if doc_id in set(removed):
            continue
        if doc_id in set(changed):
            text = f"{text}\n\nNote (revision {seed}): {_note(doc_id)}"
        rows.append((doc_id, package, text))
    for parent in parents:
        text = f"Notes on {parent} (revision {seed}): {_note(parent)}"
        rows.append((f"{parent}.notes_r{seed}", by_id.at[parent, "package"], text))
    complete = pd.DataFrame([(*row, text_sha256(row[2])) for row in rows], columns=list(frame.columns))
    complete = complete.sort_values("doc_id", ignore_index=True)
    added = tuple(f"{parent}.notes_r{seed}" for parent in parents)
    return ChangedDocs(complete, tuple(changed), added, tuple(removed))


def _note(doc_id: str) -> str:
    return f"the behaviour of {doc_id.rsplit('.', 1)[-1]} was described again and its edge cases were made explicit."


@dataclass(frozen=True, slots=True)
class Corrupted:
    """A broken version. ``faults`` names the primary keys of the broken rows by kind of fault."""

    frame: pd.DataFrame
    faults: dict[str, tuple[object, ...]]


def corrupt(frame: pd.DataFrame, seed: int = 13) -> Corrupted:
    """Break a few rows of ``mnist5k`` or ``api-docs`` as real pipelines do.

    Raises:
        InputError: ``TOO_FEW_ROWS`` below 20 rows, ``UNKNOWN_COLUMNS`` for another dataset.
    """
    if len(frame) < 20:
        raise InputError("TOO_FEW_ROWS", f"{len(frame)} rows", "frame", "give at least 20")
    rows = sorted(random.Random(seed).sample(range(len(frame)), 8))  # noqa: S311 - a repeatable choice of rows
    broken = frame.copy().reset_index(drop=True).astype(object)
    if "pixels" in frame.columns:
        return _corrupt_digits(broken, rows)
    if "sha256" in frame.columns:
        return _corrupt_docs(broken, rows)
    raise InputError("UNKNOWN_COLUMNS", ", ".join(frame.columns), "frame", "give mnist5k or api-docs")


def _corrupt_digits(frame: pd.DataFrame, rows: list[int]) -> Corrupted:
    ids = [frame.at[row, "id"] for row in rows]
    for row, label in zip(rows[:3], (10, 42, -1), strict=True):
        frame.at[row, "label"] = label
    for row, length in zip(rows[3:5], (783, 100), strict=True):
        frame.at[row, "pixels"] = frame.at[row, "pixels"][:length]
    frame.at[rows[5], "label"] = None
    frame.at[rows[6], "id"] = ids[7]
    return Corrupted(
        frame,
        {
            "label_out_of_range": tuple(ids[:3]),
            "pixels_wrong_length": tuple(ids[3:5]),
            "label_null": (ids[5],),
            "id_duplicate": (ids[7],),
        },
    )


def _corrupt_docs(frame: pd.DataFrame, rows: list[int]) -> Corrupted:
    ids = [frame.at[row, "doc_id"] for row in rows]
    for row in rows[:2]:
        frame.at[row, "text"] = None
    for row in rows[2:4]:
        frame.at[row, "text"] = f"{frame.at[row, 'text']} and something that nobody hashed"
    frame.at[rows[4], "sha256"] = "not a hash"
    frame.at[rows[6], "doc_id"] = ids[7]
    return Corrupted(
        frame,
        {
            "text_null": tuple(ids[:2]),
            "hash_of_another_text": tuple(ids[2:5]),
            "hash_malformed": (ids[4],),
            "id_duplicate": (ids[7],),
        },
    )
