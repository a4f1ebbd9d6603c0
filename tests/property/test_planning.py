"""What must hold of every plan of a queue, whatever the cluster and the jobs."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.core.planning.queue import Action, Cluster, QueuePlan, Rules, RunningJob, WaitingJob, plan_queue

NOW = 1_000_000.0
HOUR = 3600.0
ORDERED = Rules(overtaking=0.0, fairness=0.0, search=0)
"""Order of arrival and nothing burst for the others' sake: what an oracle can follow."""

sizes = st.sampled_from((1, 1, 2, 3, 4, 5, 8, 12))
hours = st.sampled_from((0.0, 0.25, 1.0, 1.0, 2.5, 7.0))


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """One to three nodes of four devices, some of them held."""
    nodes = draw(st.integers(1, 3))
    running = []
    for node in range(nodes):
        left = 4
        while left and draw(st.booleans()):
            devices = draw(st.integers(1, left))
            left -= devices
            end_at = NOW + draw(st.sampled_from((-1.0, 0.5, 1.0, 2.0, 3.0))) * HOUR
            name = f"r{len(running)}"
            running.append(RunningJob(name, draw(st.sampled_from("ab")), ((node, devices),), NOW - 2 * HOUR, end_at))
    return Cluster(nodes, 4, tuple(running))


@st.composite
def queues(draw: st.DrawFn, may_burst: bool = True, most: int = 9) -> tuple[WaitingJob, ...]:
    """Up to nine jobs with prices on both sides of what waiting costs."""
    jobs = []
    for number in range(draw(st.integers(1, most))):
        burst = draw(st.sampled_from((None, 0, 1, 5, 50))) if may_burst else None
        latest = draw(st.sampled_from((None, None, None, 0.0, 1.5, 6.0)))
        jobs.append(
            WaitingJob(
                id=f"j{number}",
                tenant=draw(st.sampled_from("ab")),
                arrival_at=NOW - draw(st.sampled_from((0.0, 0.0, 60.0, HOUR, 30 * HOUR))),
                devices=draw(sizes),
                runtime_s=draw(hours) * HOUR,
                burst_micro=None if burst is None else burst * 1_000_000,
                wait_micro_per_hour=draw(st.sampled_from((0, 1_000_000, 3_000_000))),
                boot_s=draw(st.sampled_from((0.0, 300.0))),
                latest_start_at=None if latest is None else NOW + latest * HOUR,
            )
        )
    return tuple(jobs)


def _spans(cluster: Cluster, queue: tuple[WaitingJob, ...], plan: QueuePlan) -> list[tuple[float, float, int, int]]:
    """Start, end, node and devices of everything that runs here."""
    found = []
    for running in cluster.running:
        end_at = running.expected_end_at if running.expected_end_at > NOW else NOW + HOUR  # half of two hours more
        found += [(NOW - 1.0, end_at, node, devices) for node, devices in running.devices_on]
    by_id = {job.id: job for job in queue}
    for told in plan.jobs:
        if told.action in (Action.START, Action.RESERVE):
            job = by_id[told.id]
            assert told.start_at is not None
            whole = job.devices > cluster.devices_per_node
            assert len(set(told.nodes)) == len(told.nodes) == -(-job.devices // cluster.devices_per_node)
            devices = cluster.devices_per_node if whole else job.devices
            found += [(told.start_at, told.start_at + job.runtime_s, node, devices) for node in told.nodes]
    return found


def _fits(cluster: Cluster, spans: list[tuple[float, float, int, int]]) -> bool:
    for at, _, node, _ in spans:
        held = sum(d for start, end, n, d in spans if n == node and start <= at < end - 1e-3)
        if held > cluster.devices_per_node:
            return False
    return True


@settings(max_examples=300, deadline=None)
@given(clusters(), queues())
def test_capacity_is_never_exceeded_and_actions_say_what_they_mean(
    cluster: Cluster, queue: tuple[WaitingJob, ...]
) -> None:
    plan = plan_queue(cluster, queue, NOW)
    by_id = {job.id: job for job in queue}
    assert sorted(told.id for told in plan.jobs) == sorted(by_id)
    assert _fits(cluster, _spans(cluster, queue, plan))
    for told in plan.jobs:
        job = by_id[told.id]
        wider = job.devices > cluster.nodes * cluster.devices_per_node
        if told.action is Action.BURST:
            assert job.burst_micro is not None
            assert told.start_at == NOW + job.boot_s
        elif told.action is Action.WAIT:
            assert wider
            assert job.burst_micro is None
        else:
            assert not wider
            assert (told.start_at == NOW) == (told.action is Action.START)


@settings(max_examples=150, deadline=None)
@given(clusters(), queues(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(cluster, queue, random) -> None:
    jobs, running = list(queue), list(cluster.running)
    random.shuffle(jobs)
    random.shuffle(running)
    shuffled = plan_queue(replace(cluster, running=tuple(running)), jobs, NOW)
    assert shuffled == plan_queue(cluster, queue, NOW)


@settings(max_examples=200, deadline=None)
@given(clusters(), queues(), queues(may_burst=False, most=4))
def test_what_is_planned_later_never_delays_a_reservation(cluster, queue, more) -> None:
    plain = tuple(replace(job, latest_start_at=None) for job in queue)
    later = tuple(replace(job, id=f"later-{job.id}", arrival_at=NOW + 1.0, latest_start_at=None) for job in more)
    before = plan_queue(cluster, plain, NOW, ORDERED).jobs
    after = plan_queue(cluster, plain + later, NOW, ORDERED).jobs
    assert after[: len(before)] == before


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 5), st.lists(st.sampled_from((0.5, 1.0, 2.0, 3.0)), max_size=4), queues())
def test_in_order_of_arrival_the_plan_is_that_of_a_slow_oracle(nodes: int, held: list[float], queue) -> None:
    """On nodes of one device a reservation leaves no corner that the planner could overlook: starts are exact."""
    running = [
        RunningJob(f"r{node}", "a", ((node, 1),), NOW - HOUR, NOW + end * HOUR) for node, end in enumerate(held[:nodes])
    ]
    plain = tuple(replace(job, latest_start_at=None, runtime_s=max(job.runtime_s, 36.0)) for job in queue)
    plan = plan_queue(Cluster(nodes, 1, tuple(running)), plain, NOW, ORDERED)
    order = sorted(plain, key=lambda job: (job.arrival_at, job.id))
    assert [told.id for told in plan.jobs] == [job.id for job in order]
    spans = [(NOW - 1.0, job.expected_end_at, 1) for job in running]
    for job, told in zip(order, plan.jobs, strict=True):
        soonest = _soonest(nodes, spans, job)
        price = job.wait_micro_per_hour / HOUR
        cloud = math.inf if job.burst_micro is None else job.burst_micro + price * job.boot_s
        dear = soonest == math.inf or price * (soonest - NOW) > cloud
        if dear and job.burst_micro is not None:
            assert told.action is Action.BURST
        elif soonest == math.inf:
            assert told.action is Action.WAIT
        else:
            assert told.start_at == soonest
            spans.append((soonest, soonest + job.runtime_s, job.devices))


def _soonest(nodes: int, spans: list[tuple[float, float, int]], job: WaitingJob) -> float:
    """The earliest start with enough devices free at every instant of the run, tried instant by instant."""
    for at in sorted({NOW} | {end for _, end, _ in spans if end > NOW}):
        end_at = at + job.runtime_s
        instants = {at} | {start for start, _, _ in spans if at < start < end_at - 1e-6}
        held = (sum(d for start, end, d in spans if start <= moment < end - 1e-6) for moment in instants)
        if max(held) + job.devices <= nodes:
            return at
    return math.inf


@settings(max_examples=200, deadline=None)
@given(clusters(), queues())
def test_bursting_for_others_never_costs_more(cluster, queue) -> None:
    """What the search weighs is the cost of the plan, so it can only lower it."""
    plain = tuple(replace(job, latest_start_at=None) for job in queue)
    rules = Rules(fairness=0.0)
    without = plan_queue(cluster, plain, NOW, replace(rules, search=0)).cost_micro
    assert plan_queue(cluster, plain, NOW, rules).cost_micro <= without + 1e-3


@settings(max_examples=200, deadline=None)
@given(clusters(), queues())
def test_a_latest_start_is_kept_where_the_cloud_is_open(cluster, queue) -> None:
    by_id = {job.id: job for job in queue}
    for told in plan_queue(cluster, queue, NOW).jobs:
        job = by_id[told.id]
        if job.latest_start_at is not None and job.burst_micro is not None and told.action is Action.RESERVE:
            assert told.start_at <= job.latest_start_at


@settings(max_examples=60, deadline=None)
@given(clusters(), queues(may_burst=False, most=5), st.integers(0, 10**6))
def test_no_job_waits_for_ever(cluster, queue, seed) -> None:
    """A stream of short jobs that would overtake for ever: all that came first have started by a bound of the rules."""
    rules = Rules(longest_overtaking_s=4 * HOUR)
    waiting = [
        replace(job, latest_start_at=None, arrival_at=NOW)
        for job in queue
        if job.devices <= cluster.nodes * cluster.devices_per_node
    ]
    first = {job.id for job in waiting}
    bound_h = 4.0 + 3.0 + 1.0 + sum(job.runtime_s for job in waiting) / HOUR + 12.0 + 2.5
    running, at, coming = list(cluster.running), NOW, 0
    while first:
        assert at <= NOW + bound_h * HOUR
        for _ in range(3):
            devices = 1 + (seed + coming) % 3
            waiting.append(WaitingJob(f"s{coming}", "b", at, devices, 0.5 * HOUR, None, 3_000_000))
            coming += 1
        running = [job for job in running if max(job.expected_end_at, NOW + 0.4 * HOUR) > at]
        shown = [replace(job, expected_end_at=max(job.expected_end_at, at + 1.0)) for job in running]
        plan = plan_queue(replace(cluster, running=tuple(shown)), waiting, at, rules)
        by_id = {job.id: job for job in waiting}
        for told in plan.jobs:
            if told.action is Action.START:
                job = by_id[told.id]
                whole = job.devices > cluster.devices_per_node
                held = tuple((node, cluster.devices_per_node if whole else job.devices) for node in told.nodes)
                running.append(RunningJob(job.id, job.tenant, held, at, at + job.runtime_s))
                waiting.remove(job)
                first.discard(job.id)
        at += 0.5 * HOUR
