"""Bringing the platform up, looking at it, and taking it down, from any process that knows the home."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from infra.core.errors import HeadraceError, InputError, UnavailableError
from infra.platform import logs
from infra.platform.components import WORKING_DIR
from infra.platform.prepare import check_configuration, home_not_writable, prepare
from infra.platform.state import ComponentReport, PlatformReport, read_report, state_file
from infra.platform.supervision import Phase
from infra.processes import PLATFORM_MARK, ProcessIdentity, locked, marked, stop
from infra.settings import Settings

Say = Callable[[str], None]
_POLL_S = 0.1
_MANY_FAILURES = 4
_DOWN_TIMEOUT_S = 45.0
_SILENT_PHASES = (Phase.BLOCKED, Phase.STARTING)


def bring_up(settings: Settings, say: Say, timeout_s: float = 420.0) -> tuple[PlatformReport, bool]:
    """Start whatever of the platform is not running and wait until all of it is ready.

    Concurrent calls take turns; one that finds everything running changes nothing.

    Returns:
        What runs, and whether it was all running before.

    Raises:
        InputError: The configuration is wrong; nothing was started.
        UnavailableError: ``UP_FAILED`` when a component does not come up; a platform that this call started is down
            again.
    """
    os.umask(0o077)  # whatever is made from here on is its owner's alone
    if _living(settings) is None:
        check_configuration(settings)
    try:
        settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise home_not_writable(settings, error) from error
    with locked(settings.run_dir / "up.lock"):
        report = _living(settings)
        if report is not None and report.complete:
            return report, True
        started_here = report is None
        if report is None:
            prepare(settings, time.time())
            _sweep(settings, say)
            _start_supervisor(settings)
            say("starting")
        try:
            return _await_ready(settings, say, time.monotonic() + timeout_s), False
        except HeadraceError:
            if started_here:
                _take_down(settings)
            raise


def take_down(settings: Settings, say: Say) -> bool:
    """Stop everything that belongs to this home; False when nothing ran.

    Raises:
        UnavailableError: ``DOWN_FAILED`` when a process survives even SIGKILL.
    """
    if not settings.run_dir.exists():
        return False
    with locked(settings.run_dir / "up.lock"):
        report = _living(settings)
        if report is not None:
            say("stopping")
        return _take_down(settings)


def platform_id(settings: Settings) -> str:
    """The home's own id; every process of its platform carries it in the environment."""
    path = settings.home / "platform-id"
    if not path.exists():
        path.write_text(uuid.uuid4().hex, encoding="ascii")
    return path.read_text(encoding="ascii").strip()


def living_report(settings: Settings) -> PlatformReport:
    """The report of the running platform.

    Raises:
        UnavailableError: ``NOT_UP``.
    """
    report = _living(settings)
    if report is None:
        raise UnavailableError("NOT_UP", "the platform is not running", str(settings.home), "run `headrace up`")
    return report


def _living(settings: Settings) -> PlatformReport | None:
    report = read_report(settings)
    return report if report is not None and report.alive else None


def _sweep(settings: Settings, say: Say) -> None:
    """End the components of a supervisor that was killed; by pid and start time, so never somebody else's process."""
    report = read_report(settings)
    recorded = [component.process for component in report.components if component.process] if report else []
    leftovers = [process for process in recorded if process.alive]
    if leftovers:
        say(f"replacing {len(leftovers)} processes that an earlier supervisor left")
        stop(leftovers, 6.0)
    state_file(settings).unlink(missing_ok=True)


def _start_supervisor(settings: Settings) -> ProcessIdentity:
    environment = {**os.environ, **settings.environment(), PLATFORM_MARK: platform_id(settings)}
    with logs.opened(settings.logs_dir, "supervisor") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "infra.platform.supervisor", platform_id(settings)],
            env=environment,
            cwd=WORKING_DIR,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + 30.0
    while (report := _living(settings)) is None:
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            raise UnavailableError(
                "UP_FAILED",
                "; ".join(logs.tail(logs.path_of(settings.logs_dir, "supervisor"), 3)) or "the supervisor ended",
                str(logs.path_of(settings.logs_dir, "supervisor")),
                "read its log",
            )
        time.sleep(_POLL_S)
    child.returncode = 0  # it lives on without us; nobody waits for it
    return report.supervisor


def _await_ready(settings: Settings, say: Say, deadline: float) -> PlatformReport:
    told: dict[str, Phase] = {}
    while True:
        report = _living(settings)
        if report is None:
            raise UnavailableError(
                "UP_FAILED",
                "the supervisor ended while the platform was starting",
                str(logs.path_of(settings.logs_dir, "supervisor")),
                "run `headrace up` again",
            )
        for component in report.components:
            if told.get(component.name) is not component.phase and component.phase not in _SILENT_PHASES:
                say(f"{component.title}: {_told(component)}")
            told[component.name] = component.phase
        if report.complete:
            return report
        _refuse_hopeless(report, late=time.monotonic() > deadline)
        time.sleep(_POLL_S)


def _told(component: ComponentReport) -> str:
    if component.phase is Phase.BACKOFF:
        return f"ended with status {component.last_status}, will be started again ({component.log})"
    return component.phase.value


def _refuse_hopeless(report: PlatformReport, late: bool) -> None:
    for component in report.components:
        lines = [line for line in logs.tail(Path(component.log)) if " supervisor: " not in line]
        if component.phase is Phase.REJECTED:
            raise InputError(
                "UP_REFUSED", lines[-1] if lines else "its input is wrong", component.title, f"see {component.log}"
            )
        stuck = component.failures >= _MANY_FAILURES and not component.settled
        if stuck or (late and not component.settled):
            why = f"ended {component.failures} times" if stuck else "not ready in time"
            detail = f": {lines[-1]}" if lines else ""
            raise UnavailableError("UP_FAILED", f"{why}{detail}", component.title, f"see {component.log}")


def _take_down(settings: Settings) -> bool:
    report = _living(settings)
    if report is not None:
        report.supervisor.send(signal.SIGTERM)
        if not report.supervisor.wait(_DOWN_TIMEOUT_S):
            report.supervisor.send(signal.SIGKILL)
            report.supervisor.wait(5.0)
    left_report = read_report(settings)
    recorded = [component.process for component in left_report.components if component.process] if left_report else []
    leftovers = {identity for identity in recorded if identity.alive} | set(marked(platform_id(settings)))
    stop(leftovers, 3.0)
    state_file(settings).unlink(missing_ok=True)
    survivors = [identity.pid for identity in leftovers if identity.alive]
    if survivors:
        raise UnavailableError("DOWN_FAILED", f"processes {survivors} do not end", str(settings.home), "try again")
    return report is not None or bool(leftovers)
