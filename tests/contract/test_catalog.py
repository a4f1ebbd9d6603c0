"""What every catalogue and every history does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.core.errors import ConflictError, InputError
from infra.core.inventory import DatasetVersion, TrustZone
from infra.core.lifecycle import AttemptState
from infra.core.workload import WorkKind
from infra.ports import Catalog, CatalogEntry, ControlStore
from tests.contract.examples import DIGITS, RUN, attempt_record, observation, permit, run_record
from tests.databases import ALL, NOW

pytestmark = pytest.mark.parametrize("database", ALL, indirect=True)

URI = "file:///store/sites/onprem-fra/datasets/mnist5k/v1"
BAD_URI = "file:///store/quarantine/mnist5k/v2"
REPORT = {"failed": [{"rule": "label between 0 and 9", "rows": [3, 17]}], "share": 0.1 + 0.2, "note": "größer"}


@pytest.fixture
def catalog(database: ControlStore) -> Catalog:
    database.catalog.accept(DIGITS, URI, "ab" * 32, NOW)
    return database.catalog


def test_what_is_accepted_is_found_without_loss(catalog: Catalog) -> None:
    entry = CatalogEntry(DIGITS, URI, "ab" * 32, NOW)
    assert catalog.find("mnist5k", "v1") == entry
    assert catalog.find("mnist5k", "latest") == entry
    assert catalog.versions() == (entry,)
    assert catalog.find("mnist5k", "v2") is None
    assert catalog.find("nothing", "latest") is None


def test_accepting_the_same_content_again_changes_nothing_but_adds_copies(catalog: Catalog) -> None:
    catalog.accept(DIGITS, "elsewhere", "ab" * 32, NOW + 1)
    assert catalog.versions() == (CatalogEntry(DIGITS, URI, "ab" * 32, NOW),)
    catalog.accept(replace(DIGITS, copies=("cloud-eu-central",)), URI, "ab" * 32, NOW + 2)
    assert catalog.find("mnist5k", "v1").version.copies == ("onprem-fra", "cloud-eu-central")


def test_a_version_keeps_its_content(catalog: Catalog) -> None:
    with pytest.raises(ConflictError) as refused:
        catalog.accept(DIGITS, URI, "cd" * 32, NOW + 1)
    assert refused.value.code == "VERSION_EXISTS"
    assert catalog.find("mnist5k", "v1").manifest_sha256 == "ab" * 32


def test_versions_come_newest_first(catalog: Catalog) -> None:
    for version in ("v9", "v10"):
        catalog.accept(replace(DIGITS, version=version), URI, "cd" * 32, NOW + 1)
    docs = DatasetVersion("api-docs", "v1", 5, ("onprem-fra",), ("PUBLIC",))
    catalog.accept(docs, URI, "ef" * 32, NOW - 5)
    assert [entry.version.version for entry in catalog.versions("mnist5k")] == ["v10", "v9", "v1"]
    assert [entry.version.name for entry in catalog.versions()] == ["mnist5k"] * 3 + ["api-docs"]
    assert catalog.find("mnist5k", "latest").version.version == "v10"


def test_a_quarantined_version_is_never_the_latest(catalog: Catalog) -> None:
    catalog.quarantine("mnist5k", "v2", BAD_URI, REPORT, NOW + 1)
    entry = catalog.find("mnist5k", "v2")
    assert entry == CatalogEntry(
        replace(DIGITS, version="v2", bytes=0, copies=()), BAD_URI, "", NOW + 1, quarantined=True, report=REPORT
    )
    assert catalog.find("mnist5k", "latest").version == DIGITS
    assert [entry.quarantined for entry in catalog.versions("mnist5k")] == [True, False]


def test_bad_data_under_the_name_of_good_data_leaves_the_good_data(catalog: Catalog) -> None:
    catalog.quarantine("mnist5k", "v1", BAD_URI, REPORT, NOW + 1)
    assert catalog.find("mnist5k", "v1") == CatalogEntry(DIGITS, URI, "ab" * 32, NOW)
    assert len(catalog.versions("mnist5k")) == 2


def test_quarantining_again_replaces_the_report(catalog: Catalog) -> None:
    catalog.quarantine("mnist5k", "v2", BAD_URI, REPORT, NOW + 1)
    catalog.quarantine("mnist5k", "v2", BAD_URI, {"failed": []}, NOW + 2)
    assert catalog.find("mnist5k", "v2").report == {"failed": []}
    assert len(catalog.versions("mnist5k")) == 2


def test_the_first_version_of_a_dataset_may_be_quarantined(catalog: Catalog) -> None:
    with pytest.raises(InputError) as refused:
        catalog.quarantine("scans", "v1", BAD_URI, REPORT, NOW)
    assert refused.value.code == "NO_RESIDENCY"
    described = DatasetVersion("scans", "v1", 99, ("onprem-fra",), ("DE",), TrustZone.PRIVATE)
    catalog.quarantine("scans", "v1", BAD_URI, REPORT, NOW, described)
    assert catalog.find("scans", "v1").version == replace(described, copies=())
    assert catalog.find("scans", "latest") is None


def test_a_version_needs_a_name_of_its_own(catalog: Catalog) -> None:
    for version in ("latest", ""):
        with pytest.raises(InputError) as refused:
            catalog.accept(replace(DIGITS, version=version), URI, "ab" * 32, NOW)
        assert refused.value.code == "BAD_VERSION_NAME"


def test_an_arrival_belongs_to_the_first_run_that_claims_it(catalog: Catalog) -> None:
    assert catalog.claim_arrival("mnist5k", "v2", "ab" * 32, "first")
    assert not catalog.claim_arrival("mnist5k", "v2", "ab" * 32, "second")
    assert catalog.claim_arrival("mnist5k", "v2", "ab" * 32, "first")
    assert catalog.claim_arrival("mnist5k", "v2", "cd" * 32, "second")


def test_history_keeps_each_attempt_once(database: ControlStore) -> None:
    past = observation(run_s=0.1 + 0.2)
    database.history.add(past)
    database.history.add(replace(past, run_s=99.0))
    assert database.history.observations() == (past,)


def test_history_tells_when_the_attempt_was_placed(database: ControlStore) -> None:
    database.runs.open_run(run_record())
    attempt = database.runs.claim_attempt(attempt_record(), capacity=8)
    database.history.add(observation())
    (seen,) = database.history.observations()
    assert seen.placed_at == attempt.started_at


def test_history_tells_who_was_given_a_warm_cluster(database: ControlStore) -> None:
    database.runs.open_run(run_record("warm-run-1", kind=WorkKind.WARM))
    warm = database.runs.claim_attempt(attempt_record("warm-run-1"), capacity=8)
    database.runs.update_attempt("warm-run-1", 1, AttemptState.DISPATCHED)
    database.runs.open_run(run_record())
    database.runs.claim_attempt(attempt_record(permit=permit(cluster_lease=warm.permit.id)), capacity=8)
    for run_id in ("warm-run-1", RUN, "nowhere-recorded"):
        database.history.add(observation(run_id))
    assert {seen.run_id: seen.warm for seen in database.history.observations()} == {
        "warm-run-1": False,
        RUN: True,
        "nowhere-recorded": False,
    }


def test_history_gives_the_newest_of_each_kind(database: ControlStore) -> None:
    for number in range(5):
        database.history.add(observation(f"train-{number}", at=NOW + number))
    embedding = observation("embed", kind=WorkKind.EMBEDDING_REFRESH, at=NOW - 1)
    database.history.add(embedding)
    kept = database.history.observations(limit_per_kind=2)
    assert [past.run_id for past in kept] == ["train-4", "train-3", "embed"]


def test_history_refuses_what_is_no_measurement(database: ControlStore) -> None:
    for changes in ({"run_s": -1.0}, {"units": float("nan")}, {"boot_s": float("inf")}):
        with pytest.raises(InputError) as refused:
            database.history.add(observation(**changes))
        assert refused.value.code == "BAD_NUMBER"
    assert database.history.observations() == ()
