"""What Headrace costs: an empty job through all of it against the plain Prefect process pool, in one run.

Starts a platform of its own in a temporary home, adds a plain process pool with a worker to the same Prefect server,
and runs the same number of empty jobs through both in turn, and through an ephemeral cluster. Prints one table with
every part named. Times are from the flow run's expected start to the end that its state records.

    python benchmarks/overhead.py [--runs 10] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL, temporary_settings

from infra.platform.control import living_report
from infra.settings import Settings
from infra.wiring import ControlPlane

PLAIN_POOL = "plain-process"
OWNED = {"tenant": "vision", "purchases": ["owned"]}
CLOUD = {"tenant": "vision", "purchases": ["on_demand"]}


PLAIN_FLOW = """
from prefect import flow


@flow
def empty():
    pass
"""
"""The same nothing as a plain Prefect flow: a file of its own, so that it imports Prefect and nothing else."""


@contextmanager
def platform_up(home: Path) -> Iterator[Settings]:
    """A platform of its own under ``home``."""
    os.environ["HEADRACE_HOME"] = str(home)
    settings = Settings.from_env()
    os.environ.update(settings.environment())
    subprocess.run([sys.executable, "-m", "infra.cli", "up"], check=True)
    try:
        # For this process, whose Prefect has read its settings already, and for the plain worker.
        url = os.environ["PREFECT_API_URL"] = living_report(settings).api_url
        with temporary_settings(updates={PREFECT_API_URL: url}):
            yield settings
    finally:
        subprocess.run([sys.executable, "-m", "infra.cli", "down"], check=True)


@contextmanager
def plain_worker(client: SyncPrefectClient, home: Path) -> Iterator[UUID]:
    """A plain process pool, its worker and the empty flow's deployment; yields the deployment's id."""
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=PLAIN_POOL, type="process"))
    (home / "plain_flow.py").write_text(PLAIN_FLOW, encoding="utf-8")
    deployment = client.create_deployment(
        flow_id=client.create_flow_from_name("empty"),
        name="plain",
        work_pool_name=PLAIN_POOL,
        entrypoint="plain_flow.py:empty",
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(home)}}],
    )
    environment = {**os.environ, "PREFECT_WORKER_QUERY_SECONDS": os.environ.get("HEADRACE_POLL_S", "1")}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", PLAIN_POOL]
    log = home / "worker.log"
    with log.open("wb") as sink:
        worker = subprocess.Popen(command, env=environment, stdout=sink, stderr=subprocess.STDOUT)
    try:
        yield deployment
    except SystemExit:
        print(log.read_text(encoding="utf-8", errors="replace")[-3000:], file=sys.stderr)
        raise
    finally:
        worker.terminate()
        try:
            worker.wait(timeout=30)
        except subprocess.TimeoutExpired:  # what was measured is not lost for that
            worker.kill()
            worker.wait()


def once(client: SyncPrefectClient, deployment: UUID, parameters: dict[str, object]) -> FlowRun:
    """Run the deployment and return its flow run once it has ended.

    Raises:
        SystemExit: When it did not complete.
    """
    created = client.create_flow_run_from_deployment(deployment, parameters=parameters)
    while True:
        run = client.read_flow_run(created.id)
        if run.state is not None and run.state.is_final():
            break
        time.sleep(0.1)
    if not run.state.is_completed():
        raise SystemExit(f"{run.name}: {run.state.name}: {run.state.message}")
    return run


def took_s(run: FlowRun) -> float:
    """From the expected start to the recorded end."""
    assert run.expected_start_time is not None
    assert run.state is not None
    return run.state.timestamp.timestamp() - run.expected_start_time.timestamp()


def parts_s(control: ControlPlane, client: SyncPrefectClient, run: FlowRun) -> dict[str, float]:
    """Where the time of a run through Headrace went, in order."""
    attempt = control.database.runs.attempts(str(run.id))[-1]
    entry_began = _first(client, run.id, "RUNNING")
    child = client.read_flow_run(UUID(attempt.child_run_id))
    child_began = _first(client, child.id, "RUNNING")
    assert attempt.finished_at is not None
    assert run.expected_start_time is not None
    assert run.state is not None
    assert child.expected_start_time is not None
    marks = [
        ("entry picked up", run.expected_start_time.timestamp()),
        ("snapshot", entry_began),
        ("decide, reserve, permit, dispatch", attempt.started_at),
        ("site picks up, verifies, cluster", child.expected_start_time.timestamp()),
        ("site run and close", child_began),
        ("publish, settle, end", attempt.finished_at),
        ("", run.state.timestamp.timestamp()),
    ]
    return {name: after - before for (name, before), (_, after) in itertools.pairwise(marks)}


def _first(client: SyncPrefectClient, run_id: UUID, state: str) -> float:
    states = client.read_flow_run_states(run_id)
    return min(each.timestamp for each in states if each.type.value == state).timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="counted runs of each kind, after one that is not")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as home, platform_up(Path(home)) as settings:
        report = measure(settings, arguments.runs)
    print(json.dumps(report, indent=2) if arguments.json else as_table(report))


def measure(settings: Settings, runs: int) -> dict[str, object]:
    """Run all kinds in turn and return medians, ratios and parts."""
    control = ControlPlane(settings)
    home = settings.home / "plain"
    home.mkdir()
    times: dict[str, list[float]] = {"plain": [], "attached": [], "ephemeral": []}
    boots: list[float] = []
    parts: dict[str, list[float]] = {}
    with get_client(sync_client=True) as client, plain_worker(client, home) as plain:
        probe = client.read_deployment_by_name("probe/empty").id
        for number in range(runs + 1):
            by_kind = {
                "plain": once(client, plain, {}),
                "attached": once(client, probe, {"options": OWNED}),
                "ephemeral": once(client, probe, {"options": CLOUD}),
            }
            told = ", ".join(f"{kind} {took_s(run):.2f} s" for kind, run in by_kind.items())
            print(f"round {number} of {runs}: {told}", file=sys.stderr)
            if number == 0:
                continue
            for kind, run in by_kind.items():
                times[kind].append(took_s(run))
            for name, seconds in parts_s(control, client, by_kind["attached"]).items():
                parts.setdefault(name, []).append(seconds)
            ephemeral = control.database.runs.attempts(str(by_kind["ephemeral"].id))[-1]
            boots.append((ephemeral.metered or {})["boot_s"])
    ratios = [ours / plain for ours, plain in zip(times["attached"], times["plain"], strict=True)]
    extra = [
        (ephemeral - boot) / attached
        for ephemeral, boot, attached in zip(times["ephemeral"], boots, times["attached"], strict=True)
    ]
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
        "runs": runs,
        "median_s": {kind: statistics.median(values) for kind, values in times.items()},
        "spread_s": {kind: [min(values), max(values)] for kind, values in times.items()},
        "attached_over_plain": statistics.median(ratios),
        "ephemeral_without_its_boot_over_attached": statistics.median(extra),
        "ephemeral_boot_s": statistics.median(boots),
        "attached_parts_s": {name: statistics.median(values) for name, values in parts.items()},
    }


def as_table(report: dict) -> str:
    """The report as text."""
    lines = [f"{report['machine']} · {report['date']} · {report['runs']} runs of each, in turn", ""]
    for kind, median in report["median_s"].items():
        low, high = report["spread_s"][kind]
        lines.append(f"{kind:<12} {median:6.2f} s   ({low:.2f} to {high:.2f})")
    lines += ["", f"attached / plain          {report['attached_over_plain']:.2f}"]
    lines.append(f"(ephemeral − boot) / attached  {report['ephemeral_without_its_boot_over_attached']:.2f}")
    lines.append(f"ephemeral cluster's start {report['ephemeral_boot_s']:.2f} s")
    lines += ["", "parts of an attached run (median)"]
    lines += [f"  {name:<34} {seconds:6.2f} s" for name, seconds in report["attached_parts_s"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
