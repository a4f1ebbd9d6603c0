"""Contracts: what may stand in the file, what is refused, and that the suite checks every promise."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_contracts.loading import PACKAGED, contract_names, load_contract, load_contracts, parse_contract_file
from data_contracts.model import expectations_of
from infra.core.errors import InputError
from infra.core.inventory import TrustZone
from tests.data_support import contract_folder


def test_the_two_datasets_have_contracts() -> None:
    contracts = load_contracts()
    assert set(contracts) == {"mnist5k", "api-docs"}
    assert contracts["mnist5k"].residency == ("EU",)
    assert contracts["api-docs"].residency == ("PUBLIC",)
    for contract in contracts.values():
        assert contract.home_site == "onprem-fra"
        assert contract.trust_zone is TrustZone.PUBLIC
        assert contract.owner


@pytest.mark.parametrize("name", ["mnist5k", "api-docs"])
def test_the_suite_checks_exactly_what_the_contract_promises(name: str) -> None:
    contract = load_contract(name)
    promised = [expectation.key for expectation in expectations_of(contract)]
    assert [expectation.key for expectation in contract.suite] == promised
    assert len(set(promised)) == len(promised)
    columns = {column.name for column in contract.columns}
    assert {each.kwargs.get("column") for each in contract.suite} - {None} == columns


@pytest.mark.parametrize("name", ["mnist5k", "api-docs"])
def test_no_promise_can_be_dropped_from_the_suite(name: str, tmp_path: Path) -> None:
    folder = contract_folder(tmp_path, name)
    suite = json.loads((folder / "suite.json").read_text("utf-8"))
    for position in (0, 4, len(suite["expectations"]) - 1):
        fewer = copy.deepcopy(suite)
        del fewer["expectations"][position]
        (folder / "suite.json").write_text(json.dumps(fewer), "utf-8")
        with pytest.raises(InputError) as caught:
            load_contract(name, tmp_path)
        assert caught.value.code == "SUITE_OUT_OF_STEP"
        assert "suite.json" in caught.value.where


def test_a_suite_may_check_more(tmp_path: Path) -> None:
    folder = contract_folder(tmp_path, "api-docs")
    suite = json.loads((folder / "suite.json").read_text("utf-8"))
    suite["expectations"].append({"type": "expect_column_to_exist", "kwargs": {"column": "text"}})
    (folder / "suite.json").write_text(json.dumps(suite), "utf-8")
    assert len(load_contract("api-docs", tmp_path).suite) == len(load_contract("api-docs").suite) + 1


def test_an_unknown_dataset_is_told_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_contract("mnist")
    assert caught.value.code == "UNKNOWN_DATASET"
    assert "mnist5k" in caught.value.remedy
    for name in ("..", "../mnist5k", "/etc", ""):
        with pytest.raises(InputError):
            load_contract(name)
    assert contract_names(tmp_path) == ()
    with pytest.raises(InputError) as caught:
        contract_names(tmp_path / "none")
    assert caught.value.code == "CONTRACTS_MISSING"


def _tree() -> dict[str, Any]:
    return yaml.safe_load((PACKAGED / "mnist5k" / "contract.yaml").read_text("utf-8"))


def _property(tree: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in tree["schema"][0]["properties"] if item["name"] == name)


def _set(*path: Any, to: Any) -> Any:
    def change(tree: dict[str, Any]) -> None:
        node: Any = tree
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = to

    return change


def _drop(*path: Any) -> Any:
    def change(tree: dict[str, Any]) -> None:
        node: Any = tree
        for part in path[:-1]:
            node = node[part]
        del node[path[-1]]

    return change


TABLE = ("schema", 0)
LABEL = (*TABLE, "properties", 1)
PIXELS = (*TABLE, "properties", 2)

BAD = [
    (_set("apiVersion", to="v2.2.0"), "BAD_VALUE", "apiVersion"),
    (_set("kind", to="Contract"), "UNKNOWN_VALUE", "kind"),
    (_set("status", to="actve"), "UNKNOWN_VALUE", "status"),
    (_set("surprise", to=1), "UNKNOWN_KEY", "surprise"),
    (_drop("version"), "MISSING_KEY", "version"),
    (_set("version", to=1.0), "BAD_TYPE", "version"),
    (_drop("team"), "MISSING_KEY", "team"),
    (_set("team", 0, "role", to="reader"), "MISSING_OWNER", "team"),
    (_set("name", to="other"), "CONTRADICTORY_CONTRACT", "name"),
    (_drop(*LABEL, "physicalType"), "MISSING_KEY", "schema[0].properties[1].physicalType"),
    (_set(*LABEL, "reqired", to=True), "UNKNOWN_KEY", "schema[0].properties[1].reqired"),
    (_set(*LABEL, "required", to="yes"), "BAD_TYPE", "schema[0].properties[1].required"),
    (_set(*LABEL, "logicalType", to="integr"), "UNKNOWN_VALUE", "schema[0].properties[1].logicalType"),
    (_set(*LABEL, "name", to="id"), "DUPLICATE_KEY", "schema[0].properties"),
    (_set(*LABEL, "quality", 0, "rule", to="validValue"), "UNKNOWN_RULE", "quality[0]"),
    (_set(*LABEL, "quality", 0, "validvalues", to=[1]), "UNKNOWN_KEY", "quality[0].validvalues"),
    (_drop(*LABEL, "quality", 0, "validValues"), "MISSING_KEY", "quality[0].validValues"),
    (_set(*LABEL, "quality", 0, to={"type": "sql", "query": "select 1"}), "UNKNOWN_RULE", "quality[0]"),
    (_set(*LABEL, "quality", 0, "type", to="custom"), "UNKNOWN_RULE", "quality[0]"),
    (_set(*LABEL, "primaryKey", to=True), "CONTRADICTORY_CONTRACT", "schema[0].properties"),
    (_set(*PIXELS, "logicalTypeOptions", to={"minimum": 1}), "UNKNOWN_KEY", "logicalTypeOptions.minimum"),
    (_set(*PIXELS, "logicalTypeOptions", "minItems", to=900), "CONTRADICTORY_CONTRACT", "logicalTypeOptions"),
    (_set(*PIXELS, "logicalTypeOptions", "minItems", to=-1), "BAD_VALUE", "logicalTypeOptions.minItems"),
    (_set(*TABLE, "quality", 0, "mustBeBetween", to=[10, 1]), "CONTRADICTORY_CONTRACT", "schema[0].quality[0]"),
    (_drop(*TABLE, "quality", 0, "mustBeBetween"), "MISSING_KEY", "schema[0].quality[0]"),
    (_set("customProperties", 0, "value", to=["EUROPE"]), "UNKNOWN_RESIDENCY_TAG", "customProperties: residency[0]"),
    (_set("customProperties", 0, "value", to=["EU", "eu"]), "UNKNOWN_RESIDENCY_TAG", "customProperties: residency[1]"),
    (_set("customProperties", 0, "value", to=[]), "BAD_VALUE", "customProperties[0].value"),
    (_set("customProperties", 0, "value", to="EU"), "BAD_TYPE", "customProperties[0].value"),
    (_drop("customProperties", 0), "MISSING_KEY", "customProperties"),
    (_drop("customProperties", 1), "MISSING_KEY", "customProperties"),
    (_set("customProperties", 1, "value", to="secret"), "UNKNOWN_VALUE", "customProperties[1].value"),
    (_set("customProperties", 0, "property", to="residensy"), "UNKNOWN_RULE", "customProperties[0]"),
    (_set("customProperties", 2, to={"property": "residency", "value": ["US"]}), "DUPLICATE_KEY", "customProperties"),
    (_set("servers", to=[]), "BAD_VALUE", "servers"),
    (_set("schema", to=[]), "BAD_VALUE", "schema"),
]


@pytest.mark.parametrize(("change", "code", "place"), BAD, ids=[f"{code}-{place}" for _, code, place in BAD])
def test_what_is_wrong_is_refused_with_its_place(change: Any, code: str, place: str, tmp_path: Path) -> None:
    tree = _tree()
    change(tree)
    folder = tmp_path / "mnist5k"
    folder.mkdir()
    (folder / "contract.yaml").write_text(yaml.safe_dump(tree), "utf-8")
    with pytest.raises(InputError) as caught:
        parse_contract_file(folder / "contract.yaml")
    error = caught.value
    assert (error.code, error.exit_status) == (code, 2)
    assert error.where.endswith(place)
    assert "contract.yaml" in error.where
    assert error.remedy


@pytest.mark.parametrize("text", ["", "[]", "just text", "a: [", "{", "apiVersion: v3.0.2\napiVersion: v3.0.2\n"])
def test_a_file_that_is_no_contract(text: str, tmp_path: Path) -> None:
    folder = tmp_path / "mnist5k"
    folder.mkdir()
    (folder / "contract.yaml").write_text(text, "utf-8")
    with pytest.raises(InputError) as caught:
        parse_contract_file(folder / "contract.yaml")
    assert "contract.yaml" in caught.value.where


def test_each_kind_of_promise_becomes_its_expectation(tmp_path: Path) -> None:
    tree = _tree()
    _property(tree, "id")["logicalTypeOptions"] = {"minimum": 0, "exclusiveMinimum": True, "maximum": 9}
    _property(tree, "label")["quality"] = [
        {"type": "library", "rule": "duplicateCount", "mustBe": 0},
        {"type": "text", "description": "looked at by a person"},
        {
            "type": "custom",
            "engine": "great-expectations",
            "implementation": {"type": "expect_column_mean_to_be_between", "kwargs": {"min_value": 4, "max_value": 5}},
        },
    ]
    tree["schema"][0]["quality"] = [{"type": "library", "rule": "rowCount", "mustBeGreaterThan": 5}]
    folder = tmp_path / "mnist5k"
    folder.mkdir()
    (folder / "contract.yaml").write_text(yaml.safe_dump(tree), "utf-8")
    keys = {each.key: each for each in expectations_of(parse_contract_file(folder / "contract.yaml"))}
    found = {(each.type, each.kwargs.get("column")): each.kwargs for each in keys.values()}
    assert found["expect_table_row_count_to_be_between", None] == {"min_value": 6}
    assert found["expect_column_values_to_be_between", "id"] == {
        "column": "id",
        "min_value": 0,
        "max_value": 9,
        "strict_min": True,
    }
    assert ("expect_column_values_to_be_unique", "label") in found
    assert found["expect_column_mean_to_be_between", "label"]["max_value"] == 5
    assert found["expect_column_value_lengths_to_be_between", "pixels"]["min_value"] == 784
