"""The word of warning before a cap, and what is charged for an attempt whose site is trusted no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.adapters.reports import write_report
from infra.adapters.revocation import Revocation, restore, revocations, revoke, with_revoked
from infra.controller.caps import EVENT_NAME, CapWatch
from infra.core.inventory import Purchase
from infra.core.lifecycle import AttemptState
from infra.core.metering import ReportKind, ReportOutcome, SiteReport
from infra.core.placement.snapshot import Health, SiteHealth
from infra.ports import AttemptRecord
from tasks.attempts import closing_report, conclude, settle
from tasks.placement import open_run, place
from tasks.run_plan import RunPlan
from tests.unit.placement_world import NOW_AT, on_docs
from tests.unit.test_spot_running import KEY, Control


def running(control: Control) -> AttemptRecord:
    """An attempt on on-demand devices, under way."""
    asked = on_docs(purchases=(Purchase.ON_DEMAND,))
    plan = RunPlan("run-1", "run-1", asked, (("data", asked.datasets[0]),))
    open_run(control, plan)  # type: ignore[arg-type]
    attempt = place(control, plan).attempt  # type: ignore[arg-type]
    assert attempt is not None
    return control.database.runs.update_attempt("run-1", 1, AttemptState.DISPATCHED, child_run_id="child")


def read_meter(control: Control, attempt: AttemptRecord, kind: ReportKind = ReportKind.METER) -> None:
    outcome = ReportOutcome.RUNNING if kind is ReportKind.METER else ReportOutcome.FINISHED
    now_at = control.clock.now()
    report = SiteReport(
        kind, "run-1", 1, attempt.permit.id, attempt.site, attempt.offer, 1, outcome, NOW_AT, now_at, NOW_AT + 1
    )
    write_report(control.store, KEY, report)


def test_an_attempt_near_its_cap_is_told_of_once() -> None:
    control, sent = Control(), []
    attempt = running(control)
    watch = CapWatch(control, lambda *event: sent.append(event))  # type: ignore[arg-type]
    assert watch.look() == []
    capped_s = attempt.cap_micro / 4_000_000 * 3600
    control.clock.advance(0.79 * capped_s)
    read_meter(control, attempt)
    assert watch.look() == []
    control.clock.advance(0.02 * capped_s)
    read_meter(control, attempt)
    assert len(watch.look()) == 1
    assert watch.look() == []
    ((_, at, name, resource, payload),) = sent
    assert (name, resource) == (EVENT_NAME, ("headrace.run.run-1", "run-1"))
    assert (at, payload["cap_usd"]) == (control.clock.now(), attempt.cap_micro / 1e6)
    assert payload["used_usd"] == pytest.approx(0.81 * attempt.cap_micro / 1e6, rel=1e-3)
    assert CapWatch(control, lambda *event: sent.append(event)).look() == [], "its cap is larger now"  # type: ignore[arg-type]
    assert len(sent) == 1


def test_a_revoked_sites_word_counts_for_nothing_and_its_machines_are_charged_by_the_clock() -> None:
    control = Control()
    attempt = running(control)
    control.trusted_keys, control.revoked = {}, {attempt.site: Revocation(attempt.site, NOW_AT, "leaked")}
    control.clock.advance(36.0)
    read_meter(control, attempt, ReportKind.CLOSED)
    assert closing_report(control, attempt) is None  # type: ignore[arg-type]
    ended = conclude(control, attempt, None, 1.0)  # type: ignore[arg-type]
    settled = settle(control, ended, None)  # type: ignore[arg-type]
    assert settled.state is AttemptState.EXPIRED
    assert settled.charged is not None
    assert settled.charged.total_micro == 40_000  # 36 s at $4 an hour
    assert control.database.history.observations() == ()


def test_a_revocation_lasts_until_the_site_has_a_new_key(tmp_path: Path) -> None:
    assert revocations(tmp_path) == {}
    first = Revocation("eu", 5.0, "leaked")
    revoke(tmp_path, first)
    revoke(tmp_path, Revocation("eu", 9.0, "again"))
    assert revocations(tmp_path) == {"eu": first}
    health = with_revoked((SiteHealth("eu", Health.UP), SiteHealth("us", Health.UP)), revocations(tmp_path))
    assert [(each.health, each.detail) for each in health] == [(Health.DOWN, "it is revoked: leaked"), (Health.UP, "")]
    restore(tmp_path, "eu")
    assert revocations(tmp_path) == {}
    (tmp_path / "us.revoked").write_text("no json")
    assert set(revocations(tmp_path)) == {"us"}, "what cannot be read revokes as well"
