"""The request's own ladder: what is tried, rung by rung, when it can neither run nor wait as asked.

Each rung is decided as any request is: in full, on the same snapshot, under the same policy and budgets. The first that is
feasible is taken, be it to run or to wait; that a lower one would be cheaper or sooner does not count, for whoever asked has
ordered them.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.core.errors import InputError
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome, Step
from infra.core.placement.snapshot import Snapshot
from infra.core.workload import WorkloadRequest


def descend(requests: Sequence[WorkloadRequest], snapshot: Snapshot) -> tuple[Step, ...]:
    """Decide one request after the other until one is feasible. The last step counts; if it is infeasible, all are.

    A deadline that is over is no reason to give up when a lower rung has none: those with the deadline are then left out.

    Args:
        requests: Of one run, from the top down, as ``WorkloadRequest.rungs`` gives them; not empty.

    Raises:
        InputError: What ``decide`` raises, at the rung concerned.
    """
    in_time = [each for each in requests if each.deadline_at is None or each.deadline_at > snapshot.now_at]
    steps: list[Step] = []
    for request in in_time or requests[:1]:
        try:
            decision = decide(request, snapshot)
        except InputError as error:
            raise _at_rung(request, error) from error
        steps.append(Step(request, decision))
        if decision.outcome is not Outcome.INFEASIBLE:
            break
    return tuple(steps)


def _at_rung(request: WorkloadRequest, error: InputError) -> InputError:
    """The error with the rung that it is about."""
    if request.on is None:
        return error
    field = error.where.rsplit(": ", 1)[-1]
    where = f"request: ladder[{request.ladder.index(request.on)}].{field}"
    return InputError(error.code, error.problem, where, error.remedy)
