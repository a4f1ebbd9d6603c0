"""Warm clusters at a site's desk: who gets one, who closes it, and who pays for which second of it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from infra.adapters.permits import PermitVerifier
from infra.adapters.reports import read_report
from infra.core.canonical import digest
from infra.core.errors import InputError, UnavailableError
from infra.core.metering import ReportKind, ReportOutcome, SiteReport, machine_cost_micro
from infra.ports import ClusterAddress
from infra.worker.attempt import SiteAttempt
from infra.worker.context import SiteContext
from infra.worker.site_state import SiteState
from infra.worker.warm import Fate, WarmRoom, fate_of, idle_s, settle
from tasks import warm
from tasks.site_run import site_work
from tests.unit.test_permits import CLAIMS, CONTROL, NOW_AT, OFFER, SITE, SITE_KEY, WORK, Bench, token_of

KEEP_S = 300.0
BOOT_S = 40.0
FINISHED = ReportOutcome.FINISHED


class WarmBench(Bench):
    """A desk whose clusters' schedulers can be reached, or not."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.alive = True
        self.room()

    def room(self) -> None:
        self.desk.warm = WarmRoom(self.desk.state, reaches=lambda _scheduler: self.alive)

    def begin(self, name: str, kind: str = "probe", **changes) -> SiteAttempt:
        """An attempt whose permit is named so; with its lease written and no cluster yet."""
        parameters = {"keep_s": KEEP_S} if kind == "warm" else {}
        work = {**WORK, "run_id": f"run-{name}", "kind": kind, "parameters": parameters}
        claims = replace(CLAIMS, id=name, run_id=f"run-{name}", work_sha256=digest(work), cap_micro=900_000, **changes)
        return self.desk.begin(self.desk.admit(f"flow-{name}", {"permit": token_of(claims), "work": work}))

    def warm(self, name: str = "w", **changes) -> SiteAttempt:
        """A warm attempt whose cluster took a while to boot and is ready."""
        attempt = self.begin(name, "warm", **changes)
        self.clock.at += BOOT_S
        self.desk.open_cluster(attempt)
        return attempt

    def taker(self, name: str = "t", cluster_lease: str = "w", **changes) -> SiteAttempt:
        """An attempt that was told to use a warm cluster, and got some cluster."""
        attempt = self.begin(name, cluster_lease=cluster_lease, **changes)
        self.desk.open_cluster(attempt)
        return attempt

    def address(self, attempt: SiteAttempt) -> ClusterAddress:
        return SiteContext.load(self.desk.state.context_file(attempt.lease.id)).cluster

    def close(self, attempt: SiteAttempt) -> SiteReport:
        return self.desk.close(attempt, FINISHED, 0, "")

    def restarted(self) -> WarmBench:
        """The same site after its worker was killed: its machines are still there."""
        again = WarmBench(self.desk.state.directory)
        again.clock, again.store, again.clusters = self.clock, self.store, self.clusters
        again.desk = type(self.desk)(
            site=SITE,
            pool="cloud-eu",
            verifier=PermitVerifier(CONTROL.public_key()),
            key=SITE_KEY,
            store=self.store,
            state=SiteState(self.desk.state.directory),
            providers=lambda _pool: self.clusters,
            clock=self.clock,
            store_url="memory://",
        )
        again.room()
        return again


@pytest.fixture
def bench(tmp_path: Path) -> WarmBench:
    return WarmBench(tmp_path / "site")


def cost(report: SiteReport) -> int:
    return machine_cost_micro(OFFER.price, report.devices, report.started_at, report.ended_at)


def test_a_taker_is_given_the_warm_cluster_at_once_and_no_second_is_paid_twice(bench: WarmBench) -> None:
    idling = bench.warm()
    bench.clock.at += 25.0
    taker = bench.taker()
    assert bench.address(taker) == bench.address(idling)
    assert bench.clusters.leases() == ("w",)
    assert taker.note.ready_at == taker.lease.opened_at
    bench.clock.at += 100.0
    served = bench.close(taker)
    assert bench.clusters.leases() == ()
    bench.clock.at += 3.0
    idled = bench.close(idling)
    assert (idled.started_at, idled.ready_at, idled.ended_at) == (NOW_AT, NOW_AT + BOOT_S, served.started_at)
    assert served.boot_s == 0.0
    assert served.machine_s == 100.0
    assert cost(idled) + cost(served) == machine_cost_micro(OFFER.price, 1, NOW_AT, NOW_AT + BOOT_S + 25.0 + 100.0)
    assert bench.desk.state.notes() == ()


def test_a_warm_cluster_that_is_ready_is_told_of_at_once(bench: WarmBench) -> None:
    attempt = bench.warm()
    keys = {SITE.name: SITE_KEY.public_key()}
    report = read_report(bench.store, keys, attempt.lease.run_id, 1, ReportKind.METER, SITE.name)
    assert report is not None
    assert report.ready_at == NOW_AT + BOOT_S


def test_the_meter_of_a_taken_warm_attempt_stands_still(bench: WarmBench) -> None:
    idling, taker = bench.warm(), bench.taker()
    bench.clock.at += 60.0
    bench.desk.meter(idling)
    keys = {SITE.name: SITE_KEY.public_key()}
    report = read_report(bench.store, keys, idling.lease.run_id, 1, ReportKind.METER, SITE.name)
    assert report is not None
    assert report.ended_at == taker.lease.opened_at


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bench: bench.close(bench.warm()),
        lambda bench: bench.taker("first") if bench.warm() else None,
        lambda bench: bench.begin("w", "warm"),
        lambda bench: bench.taker("w", cluster_lease=""),
        lambda bench: bench.warm(devices=2),
        lambda bench: bench.warm(expires_at=CLAIMS.expires_at - 1.0),
        lambda bench: settle(bench.desk.state.cache_dir(bench.warm().lease.id), Fate(NOW_AT)),
        lambda bench: None,
    ],
    ids=["closed", "taken", "booting", "another's", "too large", "ends first", "idled out", "never was"],
)
def test_without_that_cluster_an_attempt_gets_one_of_its_own(bench: WarmBench, spoil) -> None:
    spoil(bench)
    others = set(bench.clusters.leases())
    taker = bench.taker()
    assert bench.clusters.leases() == tuple(sorted({*others, "t"}))
    assert bench.address(taker).scheduler == "tls://t.memory:1"
    bench.close(taker)
    assert set(bench.clusters.leases()) == others


def test_a_cluster_that_became_ready_after_the_attempt_began_is_not_taken(bench: WarmBench) -> None:
    idling = bench.begin("w", "warm")
    early = bench.begin("t", cluster_lease="w")
    bench.clock.at += BOOT_S
    bench.desk.open_cluster(idling)
    bench.desk.open_cluster(early)
    assert early.taken == ""
    assert bench.clusters.leases() == ("t", "w")


def test_a_dead_cluster_is_given_to_nobody_and_its_run_is_told_to_end(bench: WarmBench) -> None:
    idling = bench.warm()
    bench.alive = False
    taker = bench.taker()
    assert taker.taken == ""
    bench.alive = True
    assert bench.taker("t2").taken == ""
    assert fate_of(bench.desk.state.cache_dir("w")) == Fate(bench.clock.at)
    bench.clock.at += 1.0
    # Nobody took it: it is paid for until it is closed.
    assert bench.close(idling).ended_at == bench.clock.at


def test_of_many_at_once_exactly_one_wins(bench: WarmBench) -> None:
    for turn in range(20):
        bench.clock.at = NOW_AT
        idling = bench.warm(f"w{turn}")
        takers = [bench.begin(f"t{turn}-{index}", cluster_lease=f"w{turn}") for index in range(3)]
        cache_dir, start = bench.desk.state.cache_dir(idling.lease.id), threading.Barrier(4)
        fates: list[Fate] = []

        def take(attempt: SiteAttempt, start: threading.Barrier = start) -> None:
            start.wait()
            bench.desk.open_cluster(attempt)

        def idle_out(start=start, cache_dir=cache_dir, fates=fates) -> None:
            start.wait()
            fates.append(settle(cache_dir, Fate(bench.clock.at)))

        threads = [threading.Thread(target=take, args=(attempt,)) for attempt in takers]
        threads.append(threading.Thread(target=idle_out))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [attempt for attempt in takers if attempt.taken]
        (told,) = fates
        assert [attempt.lease.id for attempt in winners] == ([told.taker] if told.taker else [])
        for attempt in (*takers, idling):
            bench.close(attempt)
        assert bench.clusters.leases() == ()


def test_a_taken_cluster_outlives_its_warm_attempt_and_not_its_taker(bench: WarmBench) -> None:
    idling, taker = bench.warm(), bench.taker()
    bench.clock.at += 10.0
    cancelled = bench.desk.close(idling, ReportOutcome.CANCELLED, None, "CANCELLED: somebody cancelled the run")
    assert cancelled.ended_at == taker.lease.opened_at
    assert bench.clusters.leases() == ("w",)
    bench.close(taker)
    assert bench.clusters.leases() == ()


def test_a_warm_attempt_that_is_ended_before_anybody_came_ends_its_cluster(bench: WarmBench) -> None:
    idling = bench.warm()
    bench.desk.close_cluster(idling)
    assert bench.clusters.leases() == ()
    assert bench.taker().taken == ""


@pytest.mark.parametrize("closed_first", ["", "t", "w"])
def test_a_kill_leaves_nothing_and_the_seconds_still_add_up(bench: WarmBench, closed_first: str) -> None:
    idling, taker = bench.warm(), bench.taker()
    attempts = {"w": idling, "t": taker}
    bench.clock.at += 50.0
    if closed_first:
        bench.close(attempts[closed_first])
    again = bench.restarted()
    reports = {report.lease_id: report for report in again.desk.recover()}
    assert set(reports) == {"t", "w"} - {closed_first}
    assert again.clusters.leases() == ()
    assert again.desk.state.notes() == ()
    if "w" in reports:
        assert reports["w"].ended_at == taker.lease.opened_at
    if "t" in reports:
        assert (reports["t"].outcome, reports["t"].ended_at) == (ReportOutcome.LOST, bench.clock.at)


def test_a_kill_before_the_cluster_was_taken_leaves_nothing(bench: WarmBench) -> None:
    bench.warm()
    bench.begin("t", cluster_lease="w")
    again = bench.restarted()
    assert {report.lease_id for report in again.desk.recover()} == {"t", "w"}
    assert again.clusters.leases() == ()


def test_its_cluster_may_idle_for_as_long_as_it_is_kept(bench: WarmBench) -> None:
    assert bench.warm().lease.idle_s == KEEP_S
    assert bench.begin("other").lease.idle_s == 0.0
    assert [idle_s({"kind": "warm", "parameters": {"keep_s": told}}) for told in ("x", -1, 7)] == [600.0, 600.0, 7.0]


# ------------------------------------------------------------------ the warm run's own process


def job(bench: WarmBench, keep_s: object = KEEP_S) -> tuple[SiteContext, object]:
    context = SiteContext.load(bench.desk.state.context_file("w"))
    return context, site_work({**WORK, "kind": "warm", "parameters": {"keep_s": keep_s}})


def test_a_warm_run_that_nobody_wants_idles_out(bench: WarmBench) -> None:
    bench.warm()
    context, work = job(bench, keep_s=0.05)
    result = warm.run(context, work, lambda *_: None)
    assert result.detail == {"taken": False}
    assert result.metrics["idle_s"] >= 0.04
    assert bench.taker().taken == ""


def test_a_warm_run_waits_until_its_taker_is_through(bench: WarmBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.warm()
    taker, seen = bench.taker(), []

    def pause(_seconds: float) -> None:
        seen.append(bench.clusters.leases())
        if len(seen) == 3:
            bench.close(taker)

    monkeypatch.setattr(warm, "_pause", pause)
    context, work = job(bench, keep_s=0.001)
    assert warm.run(context, work, lambda *_: None).detail == {"taken": True}
    assert seen == [("w",)] * 3


def test_a_warm_run_whose_cluster_is_gone_says_so(bench: WarmBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.warm()
    monkeypatch.setattr(warm, "REACH_EVERY_S", 0.0)
    monkeypatch.setattr(warm, "reaches", lambda _scheduler: False)
    context, work = job(bench)
    with pytest.raises(UnavailableError) as gone:
        warm.run(context, work, lambda *_: None)
    assert gone.value.code == "CLUSTER_UNREACHABLE"
    assert bench.taker().taken == ""


@pytest.mark.parametrize("keep_s", [0, -1, "long", True, float("inf")])
def test_a_warm_run_refuses_a_time_that_is_none(bench: WarmBench, keep_s: object) -> None:
    bench.warm()
    context, work = job(bench, keep_s)
    with pytest.raises(InputError):
        warm.run(context, work, lambda *_: None)
