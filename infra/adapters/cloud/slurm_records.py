"""Records of a lease's jobs, in the form of all machines' records (see ``local_cloud.records``).

A job counts from when it runs: while it waits in the queue it uses nothing. Slurm tells of starts and ends in whole
seconds. Where this computer knows better, its clock counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from infra.adapters.cloud.slurm_queue import SlurmJob
from infra.adapters.local_cloud.records import LeaseDirectory, read_json, write_json


def note_jobs(directory: LeaseDirectory, jobs: Iterable[SlurmJob]) -> None:
    """Write down which jobs run, and which have ended."""
    requested_at = directory.document().get("requested_at", 0.0)
    for job in jobs:
        if not job.started_at:
            continue
        path = directory.path / f"vm-{job.id}.json"
        record = read_json(path)
        if record is None:
            started_at = max(job.started_at, requested_at)
            record = {"name": job.id, "role": "worker", "tags": job.tags, "started_at": started_at}
            record |= {"ended_at": None, "why": None}
            write_json(path, record)
        if not job.alive and record["ended_at"] is None:
            ended_at = min(time.time(), job.ended_at + 1.0)
            write_json(path, record | {"ended_at": max(record["started_at"], ended_at), "why": job.why})
