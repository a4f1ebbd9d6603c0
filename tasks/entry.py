"""What every entry flow is: a Prefect flow that ends in a state a person understands, and can be run again.

A flow's process may die at any point, or end on purpose while its run waits. Prefect then runs the same flow again from
its start, and each step finds in the control plane's database what was already done. A *wait* leaves the flow run
scheduled for the instant at which its devices are expected, without a process.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar, get_type_hints

from prefect import flow, get_run_logger, runtime
from prefect.client.orchestration import get_client
from prefect.exceptions import ParameterTypeError, Pause
from prefect.states import Cancelled, Completed, Failed, Scheduled, State

from infra.core.errors import HeadraceError, InputError, UnavailableError

P = ParamSpec("P")
R = TypeVar("R")

WAITING = "Waiting"
"""Name of the Prefect state of a run that waits for its devices."""

TRYING_AGAIN = "TryingAgain"
"""Name of the Prefect state of a run for which something did not answer."""

TRY_AGAIN_S = 20.0
MOST_TRIES = 6
"""A flow that was started this often, waits included, fails when something still does not answer."""


class WaitUntilError(Exception):
    """Leaves a flow that has to wait. Not a failure: the flow run is scheduled for ``at``."""

    def __init__(self, at: float, why: str) -> None:
        self.at, self.why = at, why
        super().__init__(why)


class AlreadyHandledError(Exception):
    """Another run has what this one was started for: nothing is left to do."""


class EndedError(HeadraceError):
    """A run that ended without a result, for a reason that its record tells: infeasible, quarantined, failed."""

    exit_status = 3

    def __init__(self, title: str, code: str, problem: str, where: str, remedy: str = "") -> None:
        self.title = title
        self.cancelled = code == "CANCELLED"
        super().__init__(code, problem, where, remedy)


def entry_flow(name: str, flow_run_name: str) -> Callable[[Callable[P, R]], Any]:
    """Make an entry flow: waiting and refusals become Prefect states instead of stack traces.

    Args:
        flow_run_name: Template of the run's name; its fields are the flow's parameters.
    """

    def decorate(function: Callable[P, R]) -> Any:
        signature = inspect.signature(function, eval_str=True)

        @functools.wraps(function)
        def body(*args: P.args, **kwargs: P.kwargs) -> R | State:
            try:
                return function(**_checked(made, dict(signature.bind_partial(*args, **kwargs).arguments)))  # type: ignore[call-arg]
            except WaitUntilError as wait:
                raise Pause(state=_schedule_again(wait)) from None
            except AlreadyHandledError as handled:
                return Completed(name="Skipped", message=str(handled))
            except EndedError as ended:
                return (
                    Cancelled(message=str(ended)) if ended.cancelled else Failed(name=ended.title, message=str(ended))
                )
            except UnavailableError as error:
                get_run_logger().warning("%s", error)
                if (runtime.flow_run.get_run_count() or 0) >= MOST_TRIES:
                    return Failed(name="Failed", message=str(error))
                raise Pause(
                    state=_schedule_again(WaitUntilError(time.time() + TRY_AGAIN_S, str(error)), TRYING_AGAIN)
                ) from None
            except HeadraceError as error:
                get_run_logger().error("%s", error)
                return Failed(name="Refused" if error.exit_status == 2 else "Failed", message=str(error))

        def run_name() -> str:
            try:
                return flow_run_name.format(**_checked(made, runtime.flow_run.get_parameters()))
            except InputError:
                return f"{name} with bad parameters"

        # Prefect reads the parameters' types from the wrapper, whose module does not know their names.
        body.__signature__ = signature  # type: ignore[attr-defined]
        body.__annotations__ = get_type_hints(function)
        # Parameters are checked in the body, so that bad ones end the run as any other refusal does.
        made = flow(name=name, flow_run_name=run_name, validate_parameters=False)(body)
        return made

    return decorate


def _checked(made: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters in their declared types, defaults filled in.

    Raises:
        InputError: ``BAD_PARAMETERS``.
    """
    try:
        return made.validate_parameters(parameters)
    except (ParameterTypeError, TypeError) as problem:
        raise InputError("BAD_PARAMETERS", str(problem), "the run's parameters", "see the deployment's form") from None


def _schedule_again(wait: WaitUntilError, name: str = WAITING) -> State:
    state: State = Scheduled(name=name, scheduled_time=datetime.fromtimestamp(wait.at, UTC), message=wait.why)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id(), state, force=True)
    return state


def flow_run_id() -> Any:
    """Id of the flow run that this process executes."""
    return runtime.flow_run.get_id()
