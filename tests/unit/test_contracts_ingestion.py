"""Accept or quarantine: whole, once, and only where the data may be read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from data_contracts.loading import load_contract
from data_contracts.manifest import Manifest, ManifestFile
from infra.adapters.memory.catalog import MemoryCatalog
from infra.adapters.memory.clock import FixedClock
from infra.adapters.memory.state import Shelf
from infra.adapters.objects import MemoryStore
from infra.core.errors import ConflictError, InputError, RefusedError, UnavailableError
from infra.core.inventory import Site
from tasks.contracts import CheckedVersion, Quarantined, check_version
from tasks.datasets.parquet import arrow_schema, encode, encode_parts, land, land_file
from tasks.datasets.reading import read_frame
from tasks.datasets.variants import corrupt
from tests.data_support import FRANKFURT, VIRGINIA, FullStore, LooseStore, contract_folder, digits, docs


class World:
    """A store, a catalogue and a clock."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or LooseStore()
        self.catalog = MemoryCatalog(Shelf())
        self.clock = FixedClock()

    def check(self, dataset: str, version: str, site: Site = FRANKFURT) -> CheckedVersion | Quarantined:
        return check_version(
            dataset, version, store=self.store, catalog=self.catalog, clock=self.clock, control_site=site
        )


def _codes(outcome: CheckedVersion | Quarantined) -> set[str]:
    assert isinstance(outcome, Quarantined)
    return {finding["code"] for finding in outcome.report["findings"]}


def _parquet() -> bytes:
    return encode(docs(12), arrow_schema(load_contract("api-docs")))


def _land_parts(store: MemoryStore, spoil: Callable[[Manifest, dict[str, bytes]], Manifest]) -> None:
    manifest, files = encode_parts(docs(12), arrow_schema(load_contract("api-docs")), 2)
    manifest = spoil(manifest, files)
    for path, data in files.items():
        store.put(f"landing/api-docs/v1/{path}", data)
    store.put("landing/api-docs/v1/manifest.json", manifest.encoded)


def _truncate(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
    files["part-00001.parquet"] = files["part-00001.parquet"][:-9]
    return manifest


def _alter(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
    files["part-00001.parquet"] = files["part-00001.parquet"][:-1] + b"?"
    return manifest


def _lose(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
    del files["part-00001.parquet"]
    return manifest


def _miscount(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
    first, second = manifest.files
    return Manifest((first, ManifestFile(second.path, second.sha256, second.bytes, second.rows + 1)))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_truncate, "DATA_TRUNCATED"),
        (_alter, "DATA_HASH_MISMATCH"),
        (_lose, "FILE_MISSING"),
        (_miscount, "ROWS_MISMATCH"),
    ],
)
def test_a_folder_that_is_not_what_its_manifest_says_is_quarantined(
    spoil: Callable[[Manifest, dict[str, bytes]], Manifest], code: str
) -> None:
    world = World()
    _land_parts(world.store, spoil)
    outcome = world.check("api-docs", "v1")
    assert _codes(outcome) == {code}
    assert world.store.list("landing") == []
    assert world.store.list("sites") == []
    entry = world.catalog.find("api-docs", "v1")
    assert entry is not None
    assert entry.quarantined
    assert world.catalog.find("api-docs", "latest") is None


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"not parquet at all", _parquet()[:-1], _parquet()[: len(_parquet()) // 2], b"PAR1PAR1"]
)
def test_a_truncated_parquet_file_is_quarantined(data: bytes) -> None:
    world = World()
    land_file(world.store, "api-docs", "v1", data)
    outcome = world.check("api-docs", "v1")
    assert isinstance(outcome, Quarantined)
    assert _codes(outcome) == {"DATA_UNREADABLE"}
    assert world.store.get("quarantine/api-docs/v1/v1.parquet") == data
    assert json.loads(world.store.get("quarantine/api-docs/v1/report.json")) == outcome.report
    assert world.store.list("") == ["quarantine/api-docs/v1/report.json", "quarantine/api-docs/v1/v1.parquet"]
    assert world.check("api-docs", "v1") == outcome


def test_a_malformed_manifest_is_quarantined() -> None:
    world = World()
    world.store.put("landing/api-docs/v1/part.parquet", _parquet())
    world.store.put("landing/api-docs/v1/manifest.json", b"{}")
    assert _codes(world.check("api-docs", "v1")) == {"MANIFEST_MALFORMED"}
    assert world.store.exists("quarantine/api-docs/v1/manifest.json")


def test_other_columns_than_promised_are_named() -> None:
    world = World()
    frame = docs(12).drop(columns="package")
    frame["sha256"] = range(12)
    frame["surprise"] = 1
    import pyarrow as pa

    schema = pa.schema(
        [("doc_id", pa.string()), ("text", pa.string()), ("sha256", pa.int64()), ("surprise", pa.int8())]
    )
    land_file(world.store, "api-docs", "v1", encode(frame, schema))
    outcome = world.check("api-docs", "v1")
    assert isinstance(outcome, Quarantined)
    found = {finding["column"]: finding["message"] for finding in outcome.report["findings"]}
    assert found["package"] == "the column is missing"
    assert found["surprise"] == "the contract has no such column"
    assert found["sha256"] == "type int64 instead of string"
    assert _codes(outcome) == {"SCHEMA_MISMATCH"}


def test_data_is_not_read_where_it_may_not_be() -> None:
    world = World()
    land(world.store, load_contract("mnist5k"), "v1", digits(120))
    world.store.get = lambda key: pytest.fail(f"read {key}")  # type: ignore[method-assign]
    with pytest.raises(RefusedError) as caught:
        world.check("mnist5k", "v1", VIRGINIA)
    assert caught.value.code == "RESIDENCY_EXCLUDED"
    assert world.catalog.versions() == ()


def test_what_is_asked_for_wrongly() -> None:
    world = World()
    world.store.put("landing/api-docs/v2/part.parquet", b"x")
    world.store.put("landing/api-docs/v3.parquet", b"x")
    world.store.put("landing/api-docs/v3/part.parquet", b"x")
    for dataset, version, code in (
        ("api-doc", "v1", "UNKNOWN_DATASET"),
        ("../api-docs", "v1", "UNKNOWN_DATASET"),
        ("api-docs", "v1", "NOT_LANDED"),
        ("api-docs", "v2", "LANDING_INCOMPLETE"),
        ("api-docs", "v3", "LANDED_TWICE"),
        ("api-docs", "../v1", "BAD_VERSION_NAME"),
        ("api-docs", "", "BAD_VERSION_NAME"),
        ("api-docs", "latest", "NO_ACCEPTED_VERSION"),
    ):
        with pytest.raises(InputError) as caught:
            world.check(dataset, version)
        assert caught.value.code == code
        assert caught.value.exit_status == 2
        assert caught.value.remedy
    assert world.catalog.versions() == ()


@pytest.mark.parametrize("writes", [0, 1])
def test_a_full_disk_while_quarantining_leaves_the_landing_as_it_was(writes: int) -> None:
    world = World(FullStore(1 + writes))
    land_file(world.store, "api-docs", "v1", b"broken")
    with pytest.raises(UnavailableError) as caught:
        world.check("api-docs", "v1")
    assert caught.value.code == "STORE_FULL"
    assert world.store.list("") == ["landing/api-docs/v1.parquet"]
    assert world.catalog.versions() == ()


def test_a_quarantine_that_was_cut_short_is_finished() -> None:
    world = World()
    land_file(world.store, "api-docs", "v1", b"broken")
    world.store.delete = lambda key: (_ for _ in ()).throw(KeyboardInterrupt())  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        world.check("api-docs", "v1")
    del world.store.delete
    assert isinstance(world.check("api-docs", "v1"), Quarantined)
    assert world.store.list("landing") == []


runs_the_suite = pytest.mark.slow
"""Running the suite imports Great Expectations, which alone takes seconds."""


@runs_the_suite
@pytest.mark.parametrize("parts", [1, 3])
def test_a_good_version_is_accepted_at_its_home_site(parts: int) -> None:
    world = World()
    land(world.store, load_contract("mnist5k"), "v1", digits(120), parts)
    world.store.put("landing/mnist5k/v1/notes.txt", b"not listed") if parts > 1 else None
    outcome = world.check("mnist5k", "v1")
    assert isinstance(outcome, CheckedVersion)
    assert outcome.newly_accepted
    assert outcome.version.residency == ("EU",)
    assert outcome.version.copies == ("onprem-fra",)
    assert outcome.prefix == "datasets/mnist5k/v1"
    home = f"sites/onprem-fra/{outcome.prefix}"
    assert len(read_frame(world.store, home, outcome.manifest_sha256)) == 120
    assert len(world.store.list(home)) == parts + 1
    assert outcome.version.bytes == sum(world.store.size(key) for key in world.store.list(home) if "part-" in key)
    for version in ("v1", "latest"):
        again = world.check("mnist5k", version)
        assert isinstance(again, CheckedVersion)
        assert not again.newly_accepted
        assert (again.version, again.uri, again.manifest_sha256) == (
            outcome.version,
            outcome.uri,
            outcome.manifest_sha256,
        )


@runs_the_suite
@pytest.mark.parametrize("name", ["mnist5k", "api-docs"])
def test_each_corruption_is_found_with_its_rows(name: str) -> None:
    world = World()
    good = digits(200) if name == "mnist5k" else docs(200)
    broken = corrupt(good)
    land(world.store, load_contract(name), "v2", broken.frame)
    outcome = world.check(name, "v2")
    assert isinstance(outcome, Quarantined)
    key = load_contract(name).primary_key
    found = {(item["check"], item["column"]): {row[key] for row in item["rows"]} for item in outcome.report["findings"]}
    faults = {kind: set(rows) for kind, rows in broken.faults.items()}
    if name == "mnist5k":
        expected = {
            ("expect_column_values_to_be_in_set", "label"): faults["label_out_of_range"],
            ("expect_column_values_to_not_be_null", "label"): faults["label_null"],
            ("expect_column_value_lengths_to_be_between", "pixels"): faults["pixels_wrong_length"],
            ("expect_column_values_to_be_unique", "id"): faults["id_duplicate"],
        }
    else:
        expected = {
            ("expect_column_values_to_not_be_null", "text"): faults["text_null"],
            ("sha256 of text", "sha256"): faults["hash_of_another_text"],
            ("expect_column_values_to_match_regex", "sha256"): faults["hash_malformed"],
            ("expect_column_values_to_be_unique", "doc_id"): faults["id_duplicate"],
        }
    assert found == expected
    counts = {(item["check"], item["column"]): item["failed_rows"] for item in outcome.report["findings"]}
    assert counts["expect_column_values_to_be_unique", key] == 2
    assert any("of 200 rows" in line for line in outcome.lines)
    assert world.store.list("sites") == []
    text = json.dumps(outcome.report)
    assert "something that nobody hashed" not in text


@runs_the_suite
def test_the_breach_of_the_whole_table_is_told() -> None:
    world = World()
    frame = digits(100)
    frame["label"] = 3
    land(world.store, load_contract("mnist5k"), "v1", frame)
    outcome = world.check("mnist5k", "v1")
    assert isinstance(outcome, Quarantined)
    checks = [finding["check"] for finding in outcome.report["findings"]]
    assert checks == ["expect_column_distinct_values_to_contain_set"]
    land(world.store, load_contract("mnist5k"), "v2", digits(50))
    few = world.check("mnist5k", "v2")
    assert isinstance(few, Quarantined)
    assert few.report["findings"][0]["message"] == "observed 50"


@runs_the_suite
def test_a_suite_that_cannot_run_judges_nothing(tmp_path: Path) -> None:
    folder = contract_folder(tmp_path, "api-docs")
    suite = json.loads((folder / "suite.json").read_text("utf-8"))
    nonsense = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "text", "min_value": 3}}
    suite["expectations"].append(nonsense)
    (folder / "suite.json").write_text(json.dumps(suite), "utf-8")
    world = World()
    land(world.store, load_contract("api-docs"), "v1", docs(20))
    with pytest.raises(InputError) as caught:
        check_version(
            "api-docs",
            "v1",
            store=world.store,
            catalog=world.catalog,
            clock=world.clock,
            control_site=FRANKFURT,
            contracts_root=tmp_path,
        )
    assert caught.value.code == "SUITE_CANNOT_RUN"
    assert world.store.list("") == ["landing/api-docs/v1.parquet"]
    assert world.catalog.versions() == ()


@runs_the_suite
@pytest.mark.parametrize("writes", [0, 1])
def test_a_full_disk_while_accepting_leaves_the_landing_as_it_was(writes: int) -> None:
    world = World(FullStore(1 + writes))
    land(world.store, load_contract("api-docs"), "v1", docs(20))
    with pytest.raises(UnavailableError) as caught:
        world.check("api-docs", "v1")
    assert caught.value.code == "STORE_FULL"
    assert world.store.list("") == ["landing/api-docs/v1.parquet"]
    assert world.catalog.versions() == ()
    assert isinstance(world.store, FullStore)
    world.store.writes_left = 9
    assert isinstance(world.check("api-docs", "v1"), CheckedVersion)


@runs_the_suite
def test_a_check_that_died_before_the_catalogue_is_repeated() -> None:
    world = World()
    land(world.store, load_contract("api-docs"), "v1", docs(20))
    accept = world.catalog.accept
    world.catalog.accept = lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt())  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        world.check("api-docs", "v1")
    world.catalog.accept = accept  # type: ignore[method-assign]
    assert isinstance(world.check("api-docs", "v1"), CheckedVersion)
    del world.catalog.accept
    with pytest.raises(ConflictError) as caught:
        world.catalog.accept(world.catalog.find("api-docs", "v1").version, "elsewhere", "0" * 64, 0.0)  # type: ignore[union-attr]
    assert caught.value.code == "VERSION_EXISTS"


@runs_the_suite
@pytest.mark.parametrize("good", [True, False])
def test_two_checks_of_one_version_at_once_agree(good: bool) -> None:
    world = World()
    frame = docs(40)
    if not good:
        frame.loc[3, "sha256"] = "x"
    land(world.store, load_contract("api-docs"), "v1", frame, parts=2)
    start, outcomes = threading.Barrier(3), []

    def check() -> None:
        start.wait()
        try:
            outcomes.append(world.check("api-docs", "v1"))
        except BaseException as error:
            outcomes.append(error)

    threads = [threading.Thread(target=check) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kind = CheckedVersion if good else Quarantined
    assert [type(outcome) for outcome in outcomes] == [kind] * 3
    assert len(world.catalog.versions()) == 1
    assert (world.store.list("landing") == []) is not good


@runs_the_suite
@pytest.mark.parametrize("name", ["mnist5k", "api-docs"])
def test_the_suite_file_is_what_the_contract_generates(name: str) -> None:
    from data_contracts.suites import suite_text

    contract = load_contract(name)
    assert (contract.folder / "suite.json").read_text("utf-8") == suite_text(contract)
