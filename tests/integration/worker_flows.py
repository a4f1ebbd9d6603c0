"""Tiny flows that the worker tests run in real processes."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from infra.core.errors import UnavailableError
from infra.core.run_places import attempt_prefix
from infra.worker.context import SiteContext, SiteOutcome


@flow
def empty() -> None:
    """Nothing: what a run costs in itself."""


@flow
def speaks(word: str) -> str:
    get_run_logger().info("the word is %s", word)
    return word


@flow
def fails() -> None:
    raise ValueError("this flow fails")


@flow
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@flow
def sleeps(pid_file: str) -> None:
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(600)


@flow
def tells_environment(file: str) -> None:
    Path(file).write_text("\n".join(sorted(os.environ)))


def _seen_in_store(context: SiteContext, work: dict[str, Any]) -> dict[str, Any]:
    """What this process is given for the object store, and what it can do there."""
    store, own = context.open_store(), f"{attempt_prefix(work['run_id'], work['attempt'])}/own.txt"
    store.put(own, b"mine")
    denied = ""
    try:
        store.get(f"reports/{work['run_id']}/{work['attempt']}/opened.jws")
    except UnavailableError as problem:
        denied = problem.code
    return {"variables": dict(context.store_credentials), "own": store.get(own).decode(), "reports": denied}


@flow
def site_work(permit: str, work: dict[str, Any]) -> None:
    """Stands in for the site-side flow: does what the work's parameters say, and leaves an outcome."""
    context = SiteContext.from_env()
    parameters = work["parameters"]
    if "pid_file" in parameters:
        Path(parameters["pid_file"]).write_text(f"{os.getpid()}")
    if "environment_file" in parameters:
        Path(parameters["environment_file"]).write_text("\n".join(sorted(os.environ)))
    if "store_file" in parameters:
        Path(parameters["store_file"]).write_text(json.dumps(_seen_in_store(context, work)))
    if parameters.get("fail"):
        raise ValueError("this work fails")
    if parameters.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(parameters.get("sleep_s", 0))
    context.leave_outcome(
        SiteOutcome(egress_bytes=1000, egress_sources=("onprem-fra",), result_manifest_sha256="0" * 64)
    )
