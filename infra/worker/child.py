"""What runs inside the process of one flow run, forked from the pre-imported server.

The process inherits modules and nothing else that matters: its environment is replaced as a whole by the one in its
order, Prefect's settings are read again from it, and the flow is imported by its dotted name only. No pull steps, no
commands and no working directories that come with a deployment are used.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import prefect.context
from prefect._internal.control_listener import configure_from_env
from prefect.client.schemas.objects import FlowRun
from prefect.engine import handle_engine_signals
from prefect.flow_engine import load_flow_run, run_flow
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.logging.loggers import flow_run_logger
from prefect.settings import get_current_settings

from infra.processes import die_with_parent

API_PATIENCE_S = 300.0
API_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class FlowOrder:
    """What one flow-run process is told.

    Attributes:
        entrypoint: Dotted name of the flow, already checked against what the pool may run.
        env: The whole environment of the process.
        directory: Its working directory.
    """

    flow_run_id: str
    entrypoint: str
    env: dict[str, str]
    directory: str


def run_order(order: FlowOrder) -> None:
    """Run the flow of an order and leave the process with Prefect's exit status.

    Raises:
        SystemExit: With 0 when the engine recorded the run's end, another status when it could not.
    """
    os.setsid()
    die_with_parent(os.getppid(), signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(order.env)
    os.chdir(order.directory)
    _reseed()
    prefect.context.refresh_global_settings_context()
    # Logging was set up before the fork (see preload), which costs a tenth of a second; only the level is the run's own.
    logging.getLogger("prefect").setLevel(get_current_settings().logging.level)
    configure_from_env()
    flow_run_id = UUID(order.flow_run_id)
    with handle_engine_signals(flow_run_id):
        flow_run = _load(flow_run_id)
        logger = flow_run_logger(flow_run)
        try:
            flow = load_flow_from_entrypoint(order.entrypoint, use_placeholder_flow=False)
        except Exception:
            logger.exception("The flow %s cannot be imported", order.entrypoint)
            raise
        _drive(flow, run_flow(flow, flow_run=flow_run, error_logger=logger))


def _load(flow_run_id: UUID) -> FlowRun:
    """The flow run, once the Prefect API answers: a server that restarts just now is no reason to lose an attempt.

    Raises:
        httpx.ConnectError: When it did not answer for ``API_PATIENCE_S``.
    """
    until = time.monotonic() + API_PATIENCE_S
    while True:
        try:
            return load_flow_run(flow_run_id)
        except httpx.ConnectError:  # Prefect tries again by itself only where it has been connected before
            if time.monotonic() > until:
                raise
            time.sleep(API_PAUSE_S)


def _drive(flow: Flow[..., Any], result: Any) -> None:
    """Carry out what ``run_flow`` left to be awaited or iterated."""
    if inspect.iscoroutine(result):
        asyncio.run(result)
    elif flow.isgenerator and inspect.isgenerator(result):
        for _ in result:
            continue


def _reseed() -> None:
    """Forked processes must not draw the same "random" numbers as their siblings."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.seed()
