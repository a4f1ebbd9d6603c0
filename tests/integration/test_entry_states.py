"""What becomes of an entry flow when something does not answer, or answers no."""

from __future__ import annotations

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.testing.utilities import prefect_test_harness

from infra.core.errors import BudgetError, UnavailableError
from tasks.entry import MOST_TRIES, TRYING_AGAIN, entry_flow

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def server():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@entry_flow("unlucky", flow_run_name="unlucky {code}")
def unlucky(code: str) -> None:
    if code == "STORE_FULL":
        raise UnavailableError(code, "no space left", "the store", "make room")
    raise BudgetError(code, "no money", "vision", "raise the limit")


def newest():
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(limit=1)[0]


def test_what_does_not_answer_is_tried_again_later_without_a_process():
    with pytest.raises(Pause):
        unlucky("STORE_FULL", return_state=True)
    run = newest()
    assert (run.state_type.value, run.state_name) == ("SCHEDULED", TRYING_AGAIN)
    assert "STORE_FULL at the store: no space left — make room" in run.state.message
    assert run.state.state_details.scheduled_time > run.start_time


def test_it_gives_up_in_the_end(monkeypatch):
    monkeypatch.setattr("tasks.entry.MOST_TRIES", 1)
    state = unlucky("STORE_FULL", return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "Failed")
    assert MOST_TRIES > 1


def test_a_refusal_is_final():
    state = unlucky("BUDGET_EXCEEDED", return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "Refused")
    assert state.message.startswith("BUDGET_EXCEEDED at vision")
