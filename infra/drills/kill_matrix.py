"""The kill matrix: one run for each point of a run's life, in which ``kill -9`` meets the process that comes by there."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass

from infra import faults
from infra.core.errors import HeadraceError
from infra.drills.judge import judge
from infra.drills.platform import Platform
from infra.drills.report import Finding, RunSeen
from infra.faults import Point

RECOVERY_S = 300.0


@dataclass(frozen=True, slots=True)
class Killed:
    """One row of the matrix.

    Attributes:
        killed: Whether a process came by the point and was killed there.
        recover_s: From the kill until the run was published and paid; ``None`` when it never was.
    """

    point: Point
    killed: bool
    recover_s: float | None
    run: RunSeen
    findings: tuple[Finding, ...]
    problem: str = ""

    @property
    def passed(self) -> bool:
        published = self.run.results == 1 and not self.problem
        return self.killed and published and all(finding.held for finding in self.findings)


def kill_matrix(box: Platform, points: Iterable[Point], seed: int) -> list[Killed]:
    """Play the matrix, its points in an order drawn from the seed. The data is landed first if it is not there yet."""
    drawn = list(points)
    random.Random(seed).shuffle(drawn)  # noqa: S311 (an order, no secret)
    data = box.land_digits()
    return [_kill_at(box, point, data) for point in drawn]


def _kill_at(box: Platform, point: Point, data: dict[str, str]) -> Killed:
    armed_at = time.time()
    faults.arm(box.faults, point)
    run_id = box.start(
        "training/digits",
        dataset=data,
        options={"tenant": "vision", "purchases": ["on_demand"]},
        training={"model": f"matrix-{point}", "epochs": 2},
    )
    problem, recover_s, killed_at = "", None, None
    try:
        killed_at = box.until(lambda: _killed_since(box, point, armed_at), f"a kill at {point}", 120)
        box.say(f"{point}: killed")
        box.finished(run_id, RECOVERY_S)
        box.until(lambda: box.settled(run_id), f"{run_id} to be settled", 120)
        recover_s = time.time() - killed_at
    except HeadraceError as error:
        problem = str(error)
    finally:
        faults.disarm(box.faults, point)
    (seen,), findings = judge(box, {point.value: run_id})
    box.say(f"{point}: {seen.state} after {len(seen.attempts)} attempts{f', {recover_s:.1f} s' if recover_s else ''}")
    return Killed(point, killed_at is not None, recover_s, seen, tuple(findings), problem)


def _killed_since(box: Platform, point: Point, at: float) -> float | None:
    killed_at = faults.killed_at(box.faults, point)
    return killed_at if killed_at is not None and killed_at >= at else None
