"""What always holds of warm clusters: never more than allowed, more for more demand, and no decision but the same rules'."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.core.canonical import canonical
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome
from infra.core.placement.snapshot import OfferLoad, Rate, Release
from infra.core.placement.warm import TAKING_S, WarmCluster, only_at, warm_request, with_warm
from infra.core.warm import WINDOW_S, WarmSetting, wanted
from infra.core.workload import WorkKind
from infra.documents import snapshot_from_json
from tests.property.strategies import NOW_AT, problems
from tests.property.test_placement import COMMON

SETTINGS = st.builds(
    WarmSetting,
    offer=st.just("od"),
    tenant=st.just("vision"),
    most=st.integers(1, 64),
    keep_s=st.floats(1.0, 7200.0),
)


@settings(max_examples=60, **COMMON)
@given(SETTINGS, st.lists(st.floats(-2 * WINDOW_S, 60.0), max_size=300), st.floats(0.0, 900.0))
def test_never_more_than_allowed_and_more_for_more_demand(setting, since_s, boot_s) -> None:
    started_at = [NOW_AT + at for at in since_s]
    number = wanted(setting, started_at, boot_s, NOW_AT)
    assert 0 <= number <= setting.most
    assert wanted(setting, started_at[::-1], boot_s, NOW_AT) == number
    assert wanted(setting, [*started_at, NOW_AT], boot_s, NOW_AT) >= number
    assert wanted(setting, started_at, boot_s + 10.0, NOW_AT) >= number
    if number:
        assert wanted(replace(setting, most=64), started_at, boot_s, NOW_AT) >= number


@pytest.mark.slow
@settings(max_examples=60, **COMMON)
@given(problems(), st.data())
def test_a_warm_cluster_frees_its_own_devices_and_changes_no_other_offer(problem, data) -> None:
    request, snapshot = problem
    offers = [(site, offer) for site in snapshot.sites for pool in site.pools for offer in pool.offers]
    site, offer = data.draw(st.sampled_from(offers))
    devices, key = request.resources.devices, (site.name, offer.name)
    release = Release(NOW_AT + 600.0, devices)
    loads = {(load.site, load.offer): load for load in snapshot.loads}
    load = loads.get(key, OfferLoad(*key))
    loads[key] = replace(load, releases=(*load.releases, release))
    held = replace(snapshot, loads=tuple(loads.values()))
    cluster = WarmCluster("lease", *key, release, NOW_AT + 7200.0)
    warmed, ready = with_warm(held, [cluster], [request], 600.0)
    assert snapshot_from_json(canonical(warmed).decode()) == warmed
    if load.rests_until_at is not None:
        assert (warmed, ready) == (held, {})
        return
    assert ready == {key: cluster}
    freed = {(load.site, load.offer): load for load in warmed.loads}
    assert sorted(freed[key].releases, key=repr) == sorted(load.releases, key=repr)
    assert {each: freed[each] for each in freed if each != key} == {each: loads[each] for each in loads if each != key}
    before = offer.boot_s if load.boot_s is None else load.boot_s
    after = offer.boot_s if freed[key].boot_s is None else freed[key].boot_s
    assert after <= before
    if before <= TAKING_S:
        assert decide(request, warmed).outcome is decide(request, snapshot).outcome


@pytest.mark.slow
@settings(max_examples=60, **COMMON)
@given(problems(), st.data())
def test_narrowed_to_one_offer_there_is_no_other_candidate(problem, data) -> None:
    request, snapshot = problem
    offers = [(site.name, offer.name) for site in snapshot.sites for pool in site.pools for offer in pool.offers]
    site, offer = data.draw(st.sampled_from(offers))
    snapshot = replace(snapshot, rates=(*snapshot.rates, Rate(WorkKind.WARM, "", 0.0, 1.0, 0.0)))
    asked = warm_request(request.tenant, request.resources.devices, 4200.0, snapshot.offer(site, offer).relative_speed)
    narrowed = only_at(snapshot, site, offer)
    decision = decide(asked, narrowed)
    assert {(each.site, each.offer) for each in decision.candidates} == {(site, offer)}
    assert decision.outcome in (Outcome.RUN, Outcome.INFEASIBLE)
    if decision.chosen is not None:
        assert decision.chosen.start_at == NOW_AT
        assert decision.chosen.finish_high_at >= NOW_AT + 4199.9
        spent = snapshot.offer(site, offer).price.cost(NOW_AT, 4199.9, asked.resources.devices)
        assert decision.chosen.cap_micro >= spent
    assert only_at(snapshot, site, "not-sold").sites == ()
    assert decide(asked, only_at(snapshot, site, "not-sold")).outcome is Outcome.INFEASIBLE
