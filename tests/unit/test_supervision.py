"""The supervisor's decisions, with a clock that the test moves."""

from __future__ import annotations

import pytest

from infra.platform.supervision import Action, Backoff, Lifecycle, Phase, Supervision, Verb


@pytest.fixture
def table() -> Supervision:
    return Supervision(
        {
            "server": Lifecycle(start_timeout_s=30.0, silent_timeout_s=60.0),
            "setup": Lifecycle(needs=("server",), once=True),
            "worker": Lifecycle(needs=("server", "pools"), eager=True, start_timeout_s=20.0),
        },
        Backoff(first_s=1.0, most_s=8.0, steady_s=60.0),
    )


def verbs(actions: list[Action]) -> list[tuple[str, str]]:
    return [(action.verb.value, action.name) for action in actions]


def test_starts_what_needs_nothing_and_what_waits_by_itself(table: Supervision) -> None:
    assert verbs(table.next_actions(0.0)) == [("start", "server"), ("start", "worker")]
    assert table.next_actions(0.0) == []
    table.ready("server", 5.0)
    assert verbs(table.next_actions(5.0)) == [("start", "setup")]


def test_everything_is_complete_when_services_are_ready_and_tasks_are_done(table: Supervision) -> None:
    table.next_actions(0.0)
    table.ready("server", 5.0)
    table.next_actions(5.0)
    table.milestone(["pools"])
    table.ready("worker", 6.0)
    assert not table.complete
    table.ended("setup", 0, 9.0)
    assert table.complete
    assert table.states["setup"].phase is Phase.DONE
    assert table.next_actions(10.0) == []


def test_a_task_that_refuses_its_input_is_not_tried_again(table: Supervision) -> None:
    table.next_actions(0.0)
    table.ready("server", 1.0)
    table.next_actions(1.0)
    table.ended("setup", 2, 2.0)
    assert table.states["setup"].phase is Phase.REJECTED
    assert ("start", "setup") not in verbs(table.next_actions(500.0))


def test_a_task_that_failed_is_tried_again(table: Supervision) -> None:
    table.next_actions(0.0)
    table.ready("server", 1.0)
    table.next_actions(1.0)
    table.ended("setup", 1, 2.0)
    assert table.states["setup"].phase is Phase.BACKOFF
    assert table.next_actions(2.5) == []
    assert verbs(table.next_actions(3.0)) == [("start", "setup")]


def test_pauses_double_up_to_the_most(table: Supervision) -> None:
    now, pauses = 0.0, []
    table.next_actions(now)
    for _ in range(6):
        table.ended("server", 1, now)
        before = now
        while ("start", "server") not in verbs(table.next_actions(now)):
            now += 0.25
        pauses.append(now - before)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert table.states["server"].restarts == 6


def test_failures_are_forgotten_after_a_steady_time(table: Supervision) -> None:
    table.next_actions(0.0)
    table.ended("server", 1, 0.0)
    table.ended("server", 1, 1.0)
    assert table.states["server"].failures == 2
    table.next_actions(3.0)
    table.ready("server", 4.0)
    table.ready("server", 30.0)
    assert table.states["server"].failures == 2
    table.ready("server", 64.0)
    assert table.states["server"].failures == 0
    table.ended("server", -9, 70.0)
    assert table.states["server"].failures == 1
    assert table.states["server"].retry_at == 71.0


def test_a_late_start_is_killed_once(table: Supervision) -> None:
    table.next_actions(0.0)
    assert table.next_actions(29.9) == []
    assert table.next_actions(30.0) == [Action(Verb.KILL, "server", "not ready after 30 s")]
    assert table.next_actions(31.0) == []
    table.ended("server", -9, 31.0)
    assert verbs(table.next_actions(32.0)) == [("start", "server")]


def test_the_start_timeout_begins_when_the_needs_are_met(table: Supervision) -> None:
    table.next_actions(0.0)
    table.ready("server", 25.0)
    table.next_actions(25.0)
    table.milestone(["pools"])
    table.next_actions(100.0)
    table.ready("server", 101.0)
    assert ("kill", "worker") not in verbs(table.next_actions(119.9))
    assert ("kill", "worker") in verbs(table.next_actions(120.0))


def test_a_silent_service_is_killed_and_an_answer_saves_it(table: Supervision) -> None:
    table.next_actions(0.0)
    table.ready("server", 1.0)
    table.next_actions(1.0)
    table.ready("server", 40.0)
    assert ("kill", "server") not in verbs(table.next_actions(99.0))
    assert Action(Verb.KILL, "server", "no answer for 60 s") in table.next_actions(100.0)


def test_a_dead_need_stops_the_clock_of_those_that_wait(table: Supervision) -> None:
    table.next_actions(0.0)
    table.ready("server", 1.0)
    table.milestone(["pools"])
    table.next_actions(1.0)
    table.ended("server", -9, 10.0)
    table.next_actions(10.0)
    assert ("kill", "worker") not in verbs(table.next_actions(30.0))


def test_wakes_for_the_next_retry_and_not_before(table: Supervision) -> None:
    table.next_actions(0.0)
    table.ended("server", 1, 5.0)
    assert table.wake_at(5.0) == 6.0


def test_pause_never_overflows() -> None:
    assert Backoff().pause_s(10_000) == 30.0
