"""The planner of the queue on small cases that a person can check."""

from __future__ import annotations

import math

import pytest

from infra.core.errors import InputError
from infra.core.planning.queue import Action, Cluster, PlannedJob, Rules, RunningJob, WaitingJob, Why, plan_queue

NOW = 1_000_000.0
HOUR = 3600.0
USD = 1_000_000
CHEAP_ORDER = Rules(overtaking=0.0, fairness=0.0)


def job(name: str, devices: int = 1, hours: float = 1.0, usd: float | None = 100.0, **more: object) -> WaitingJob:
    values = {"tenant": "vision", "arrival_at": NOW, "wait_micro_per_hour": USD} | more
    burst = None if usd is None else int(usd * USD)
    return WaitingJob(id=name, devices=devices, runtime_s=hours * HOUR, burst_micro=burst, **values)


def running(name: str, hours: float, *devices_on: tuple[int, int], tenant: str = "vision") -> RunningJob:
    return RunningJob(name, tenant, devices_on, NOW - HOUR, NOW + hours * HOUR)


def planned(cluster: Cluster, *jobs: WaitingJob, rules: Rules | None = None) -> dict[str, PlannedJob]:
    plan = plan_queue(cluster, jobs, NOW, rules)
    assert {told.id for told in plan.jobs} == {one.id for one in jobs}
    return {told.id: told for told in plan.jobs}


def test_an_empty_queue_has_an_empty_plan() -> None:
    assert plan_queue(Cluster(1, 8), (), NOW).jobs == ()


def test_what_fits_starts_on_the_fullest_node() -> None:
    cluster = Cluster(2, 8, (running("r", 1.0, (1, 4)),))
    told = planned(cluster, job("a", 4))["a"]
    assert (told.action, told.why, told.nodes, told.start_at) == (Action.START, Why.FREE_NOW, (1,), NOW)


def test_a_wide_job_takes_whole_nodes_and_is_reserved() -> None:
    cluster = Cluster(2, 8, (running("r", 2.0, (1, 1)),))
    told = planned(cluster, job("wide", 12))["wide"]
    assert (told.action, told.why, told.nodes) == (Action.RESERVE, Why.CHEAPER_THAN_CLOUD, (0, 1))
    assert told.start_at == NOW + 2 * HOUR


def test_backfill_takes_what_ends_before_the_reservation_and_nothing_else() -> None:
    cluster = Cluster(2, 8, (running("r", 2.0, (1, 8)),))
    told = planned(
        cluster,
        job("wide", 16, usd=1000, arrival_at=NOW - 10),
        job("short", 4, hours=2.0, arrival_at=NOW - 5),
        job("long", 4, hours=2.1),
        rules=CHEAP_ORDER,
    )
    assert told["wide"].start_at == NOW + 2 * HOUR
    assert told["short"].action is Action.START
    assert (told["long"].action, told["long"].start_at) == (Action.RESERVE, NOW + 3 * HOUR)


@pytest.mark.parametrize(("usd", "action"), [(1.9, Action.BURST), (2.1, Action.RESERVE)])
def test_a_job_is_burst_when_waiting_costs_more(usd: float, action: Action) -> None:
    told = planned(Cluster(1, 1, (running("r", 2.0, (0, 1)),)), job("a", usd=usd))["a"]
    assert told.action is action
    assert told.why is (Why.WAIT_COSTS_MORE if action is Action.BURST else Why.CHEAPER_THAN_CLOUD)


def test_the_boot_of_the_cloud_counts_as_waiting() -> None:
    cluster = Cluster(1, 1, (running("r", 2.0, (0, 1)),))
    told = planned(cluster, job("a", usd=1.5, boot_s=HOUR), job("b", usd=1.5, hours=9.0, wait_micro_per_hour=0))
    assert told["a"].action is Action.RESERVE
    assert planned(cluster, job("a", usd=1.5, boot_s=60.0))["a"].start_at == NOW + 60.0


def test_a_job_that_delays_others_is_burst_for_their_sake() -> None:
    others = [job(f"o{number}", usd=50, arrival_at=NOW + number) for number in range(4)]
    plan = planned(
        Cluster(1, 1, (running("r", 0.1, (0, 1)),)), job("slow", hours=10, usd=20), *others, rules=CHEAP_ORDER
    )
    assert (plan["slow"].action, plan["slow"].why) == (Action.BURST, Why.DELAYS_OTHERS)
    alone = planned(Cluster(1, 1, (running("r", 0.1, (0, 1)),)), job("slow", hours=10, usd=20))
    assert alone["slow"].action is Action.RESERVE


def test_cheap_jobs_overtake_within_the_patience_of_the_dear_one() -> None:
    cluster = Cluster(1, 1, (running("r", 1.0, (0, 1)),))
    jobs = (job("long", hours=10, usd=100, arrival_at=NOW - HOUR), job("short", hours=0.1, usd=5))
    assert planned(cluster, *jobs)["short"].start_at == NOW + HOUR
    assert planned(cluster, *jobs, rules=CHEAP_ORDER)["long"].start_at == NOW + HOUR


def test_nobody_is_overtaken_by_what_comes_later_than_the_longest_overtaking() -> None:
    cluster = Cluster(1, 1, (running("r", 1.0, (0, 1)),))
    rules = Rules(longest_overtaking_s=HOUR)
    old = job("old", hours=10, usd=10_000, arrival_at=NOW - 2 * HOUR)
    assert planned(cluster, old, job("new", hours=0.1), rules=rules)["old"].start_at == NOW + HOUR


def test_a_latest_start_puts_a_job_first_and_the_promise_is_kept() -> None:
    cluster = Cluster(1, 1, (running("r", 1.0, (0, 1)),))
    urgent = job("urgent", hours=10, usd=1000, latest_start_at=NOW + 1.5 * HOUR)
    told = planned(cluster, urgent, job("short", hours=1.0))["urgent"]
    assert (told.why, told.start_at, told.promised) == (Why.LATEST_START_KEPT, NOW + HOUR, True)
    again = planned(cluster, job("u", hours=10, usd=1000, latest_start_at=NOW + 9 * HOUR, promised=True), job("short"))
    assert again["u"].start_at == NOW + HOUR


def test_a_latest_start_that_cannot_be_kept_here_needs_the_cloud() -> None:
    cluster = Cluster(1, 1, (running("r", 2.0, (0, 1)),))
    told = planned(cluster, job("a", latest_start_at=NOW + HOUR))["a"]
    assert (told.action, told.why) == (Action.BURST, Why.LATEST_START_NEEDS_CLOUD)
    told = planned(cluster, job("a", usd=None, latest_start_at=NOW + HOUR))["a"]
    assert (told.action, told.why, told.start_at) == (Action.RESERVE, Why.LATEST_START_MISSED, NOW + 2 * HOUR)


def test_what_is_wider_than_the_cluster_bursts_or_waits() -> None:
    assert planned(Cluster(2, 8), job("a", 17))["a"].action is Action.BURST
    told = planned(Cluster(2, 8), job("a", 17, usd=None))["a"]
    assert (told.action, told.why, told.start_at) == (Action.WAIT, Why.TOO_WIDE, None)


def test_tenants_share() -> None:
    cluster = Cluster(1, 1, (running("r", 1.0, (0, 1)),))
    many = [job(f"m{number}", usd=None, arrival_at=NOW - 100 + number) for number in range(5)]
    told = planned(cluster, *many, job("one", usd=None, tenant="search"))
    assert told["one"].start_at == NOW + HOUR
    told = planned(cluster, *many, job("one", usd=None, tenant="search"), rules=Rules(fairness=0.0))
    assert told["one"].start_at == NOW + 6 * HOUR


def test_an_overdue_job_is_expected_to_go_on_and_a_shrunk_cluster_to_shrink() -> None:
    overdue = RunningJob("r", "vision", ((0, 1),), NOW - 4 * HOUR, NOW - HOUR)
    assert planned(Cluster(1, 1, (overdue,)), job("a"))["a"].start_at == NOW + 2 * HOUR
    shrunk = Cluster(1, 1, (running("r", 1.0, (0, 1)), running("s", 3.0, (0, 1))))
    assert planned(shrunk, job("a"))["a"].start_at == NOW + 3 * HOUR


@pytest.mark.parametrize(
    ("cluster", "jobs", "code"),
    [
        (Cluster(0, 8), (), "BAD_NUMBER"),
        (Cluster(1, 8, (running("r", 1.0, (1, 1)),)), (), "UNKNOWN_NODE"),
        (Cluster(1, 8), (job("a"), job("a")), "DUPLICATE_VALUE"),
        (Cluster(1, 8), (job("a", 0),), "BAD_NUMBER"),
        (Cluster(1, 8), (job("a", hours=math.nan),), "BAD_NUMBER"),
        (Cluster(1, 8), (job("a", latest_start_at=math.inf),), "BAD_TIME"),
    ],
)
def test_bad_input_is_refused(cluster: Cluster, jobs: tuple[WaitingJob, ...], code: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_queue(cluster, jobs, NOW)
    assert caught.value.code == code
