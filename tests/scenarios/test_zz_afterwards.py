"""After all the other scenarios: what must hold of everything that happened on the platform, whatever happened."""

from __future__ import annotations

import pytest

from infra.adapters.reports import read_report
from infra.core.jurisdictions import permits
from infra.core.lifecycle import AttemptState, RunState
from infra.core.metering import ReportKind
from infra.documents import request_from_json
from infra.render.replay import replayed
from tests.scenarios.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300, func_only=True)]


def test_nothing_is_left_open_and_the_books_are_right(world: World) -> None:
    world.until(lambda: not world.runs.open_attempts(), "all attempts to be settled")
    world.until(lambda: not world.leases_in_use(), "all clusters to be gone")
    world.until(lambda: not world.runs.runs((RunState.ACTIVE, RunState.WAITING)), "all runs to have ended")
    status, out, err = world.cli("ledger", "--check")
    assert status == 0, out + err
    for balance in world.ledger.balances():
        assert balance.reserved_micro == 0
        assert 0 <= balance.settled_micro <= balance.limit_micro


def test_no_data_was_ever_used_where_it_may_not_be(world: World) -> None:
    sites = {site.name: site for site in world.control.sites}
    seen = 0
    for run in world.runs.runs(limit=1000):
        for attempt in world.runs.attempts(run.run_id):
            place = sites[attempt.site].jurisdiction
            for dataset in attempt.permit.datasets:
                seen += 1
                assert permits(dataset.residency, place), f"{dataset} at {attempt.site}"
            of_the_eu = any(dataset.residency == ("EU",) for dataset in attempt.permit.datasets)
            assert not (of_the_eu and attempt.site == "cloud-us-east")
            if attempt.state is AttemptState.EXPIRED:
                continue  # it was settled without its site's word, which may be signed with a key that is revoked since
            control = world.control
            report = read_report(
                control.store, control.trusted_keys, run.run_id, attempt.attempt, ReportKind.CLOSED, attempt.site
            )
            if report is not None and of_the_eu:
                assert report.site != "cloud-us-east"
    assert seen > 0


def test_every_decision_can_be_made_again_and_every_run_published_at_most_once(world: World) -> None:
    published: set[tuple[str, str]] = set()
    for run in world.runs.runs(limit=1000):
        records = world.runs.decisions(run.run_id)
        assert all(replayed(record).identical for record in records)
        assert not records or request_from_json(records[-1].request_json).tenant == run.tenant
        publication = world.runs.publication(run.run_id)
        assert (publication is not None) == (run.state is RunState.PUBLISHED)
        if publication is not None and publication.name:
            assert (publication.name, publication.version) not in published
            published.add((publication.name, publication.version))
            assert world.control.database.catalog.versions(publication.name) or "index" in publication.name
