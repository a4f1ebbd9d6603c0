"""Traces of batch jobs: read from CSV, or made like the synthetic job set of the Starburst paper.

Columns: ``job_id,arrival_h,runtime_h,gpus``, in any order, others are ignored. Jobs are sorted by arrival; equal arrivals
keep the order of their ids, whatever order the file has them in.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from infra.core.errors import InputError
from infra.documents.files import display

COLUMNS = ("job_id", "arrival_h", "runtime_h", "gpus")
MOST_HOURS = 1e7
MOST_GPUS = 1_000_000
TABLE4_GPUS = (1, 2, 4, 8)
TABLE4_SHARES = (0.7, 0.15, 0.1, 0.05)
TABLE4_NODES = 4
TABLE4_PER_NODE = 8


@dataclass(frozen=True, slots=True)
class Trace:
    """Jobs by column, in order of arrival.

    Attributes:
        arrival_h: When each job came, in hours. [jobs] float64
        runtime_h: How long it runs. [jobs] float64
        gpus: How many GPUs it needs at once. [jobs] int64
    """

    arrival_h: np.ndarray
    runtime_h: np.ndarray
    gpus: np.ndarray

    @property
    def gpu_hours(self) -> np.ndarray:
        """GPU-hours of each job. [jobs] float64"""
        return self.gpus * self.runtime_h


def read_trace(path: Path) -> Trace:
    """Read a trace from ``.csv`` or ``.csv.gz``.

    Raises:
        InputError: ``FILE_MISSING``, ``FILE_UNREADABLE``, ``EMPTY_TRACE``, ``MISSING_COLUMN`` or ``BAD_TRACE``.
    """
    where = display(path)
    try:
        with _opened(path) as file:
            rows = list(_rows(file, where))
    except FileNotFoundError:
        raise InputError("FILE_MISSING", "there is no such file", where, "check the path") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise InputError(
            "FILE_UNREADABLE",
            str(error),
            where,
            "give a readable CSV file in UTF-8, or one packed by gzip named .csv.gz",
        ) from error
    if not rows:
        raise InputError("EMPTY_TRACE", "there is no job in it", where, "give a trace with at least one job")
    rows.sort()
    arrival, _, _, runtime, gpus = zip(*rows, strict=True)
    return Trace(np.array(arrival, np.float64), np.array(runtime, np.float64), np.array(gpus, np.int64))


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _rows(file: TextIO, where: str) -> Iterator[tuple[float, float, str, float, int]]:
    """Arrival, the id as a number and as text (for the order), run time and GPUs of each row."""
    reader = csv.reader(file)
    header = [name.strip().lstrip("\ufeff") for name in next(reader, [])]
    if not header:
        raise InputError("EMPTY_TRACE", "the file is empty", where, f"give the columns {','.join(COLUMNS)} and a job")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(
            "MISSING_COLUMN", f"no column {', '.join(missing)}", where, f"give the columns {','.join(COLUMNS)}"
        )
    places = [header.index(name) for name in COLUMNS]
    for line, row in enumerate(reader, start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise _bad(f"{len(row)} values in {len(header)} columns", where, line)
        name, arrival, runtime, gpus = (row[place].strip() for place in places)
        number = _number(gpus, "gpus", where, line, MOST_GPUS)
        if number < 1 or number != int(number):
            raise _bad(f"gpus is {gpus!r}", where, line, "give a whole number of 1 or more")
        order = float(name) if name.isdecimal() else math.inf
        arrival_h = _number(arrival, "arrival_h", where, line, MOST_HOURS)
        yield arrival_h, order, name, _number(runtime, "runtime_h", where, line, MOST_HOURS), int(number)


def _number(text: str, column: str, where: str, line: int, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # A NaN compares false with everything, so it is refused here too.
    if not 0.0 <= value <= most:
        raise _bad(f"{column} is {text!r}", where, line, f"give a number from 0 to {most:g}")
    return value


def _bad(problem: str, where: str, line: int, remedy: str = "correct the row") -> InputError:
    return InputError("BAD_TRACE", problem, f"{where}, line {line}", remedy)


def table4_like(jobs: int, load: float, seed: int, gpus: int = TABLE4_NODES * TABLE4_PER_NODE) -> Trace:
    """A job set like that of Table 4 of the Starburst paper (Luo et al., ATC'24), from a generator of its own.

    Poisson arrivals, exponential run times of mean 1 h, 1, 2, 4 or 8 GPUs with probabilities 0.7, 0.15, 0.1, 0.05.

    Args:
        jobs: How many jobs.
        load: GPU-hours that arrive per GPU and hour.
        seed: Of numpy's PCG64; the same seed gives the same jobs.
        gpus: GPUs of the cluster that the load refers to.
    """
    random = np.random.default_rng(seed)
    per_job = sum(size * share for size, share in zip(TABLE4_GPUS, TABLE4_SHARES, strict=True))
    gaps = random.exponential(per_job / (load * gpus), jobs)
    arrival = np.cumsum(gaps) - gaps[0]
    return Trace(arrival, random.exponential(1.0, jobs), random.choice(np.array(TABLE4_GPUS), jobs, p=TABLE4_SHARES))
