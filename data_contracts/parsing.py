"""From the plain values of a contract file, whose structure was validated before, to a :class:`Contract`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_contracts.model import Column, Contract, Expectation
from infra.core.errors import InputError
from infra.core.inventory import TrustZone
from infra.core.jurisdictions import countries_of
from infra.documents.problems import join, unknown


def contract_of(tree: Mapping[str, Any], folder: Path, where: str) -> Contract:
    """The contract that a structurally valid document states.

    Raises:
        InputError: for contradictions, unknown residency tags and missing owners, with file and path.
    """
    custom = _custom(tree["customProperties"], where)
    for position, tag in enumerate(custom["residency"]):
        countries_of(tag, join(where, f"customProperties: residency[{position}]"))
    table = tree["schema"][0]
    columns = tuple(
        _column(item, join(where, f"schema[0].properties[{position}]"))
        for position, item in enumerate(table["properties"])
    )
    _require_columns(columns, join(where, "schema[0].properties"))
    owners = [member["username"] for member in tree["team"] if member["role"] == "owner"]
    if not owners:
        raise InputError("MISSING_OWNER", "nobody owns it", join(where, "team"), "give one member the role owner")
    return Contract(
        name=tree["name"],
        version=tree["version"],
        status=tree["status"],
        owner=owners[0],
        purpose=tree.get("description", {}).get("purpose", ""),
        residency=tuple(custom["residency"]),
        trust_zone=TrustZone(custom["trustZone"]),
        home_site=custom["homeSite"],
        columns=columns,
        table_expectations=tuple(_table_rules(table.get("quality", []), join(where, "schema[0].quality"))),
        sla=tuple(
            (item["property"], str(item["value"]), item.get("unit", "")) for item in tree.get("slaProperties", [])
        ),
        folder=folder,
    )


def _custom(items: list[dict[str, Any]], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        if item["property"] in found:
            problem = f"{item['property']!r} stands twice"
            raise InputError("DUPLICATE_KEY", problem, join(where, "customProperties"), "keep one")
        found[item["property"]] = item["value"]
    for needed in ("residency", "trustZone", "homeSite"):
        if needed not in found:
            raise InputError(
                "MISSING_KEY", f"no {needed}", join(where, "customProperties"), f"add property: {needed} with its value"
            )
    return found


def _require_columns(columns: tuple[Column, ...], where: str) -> None:
    names = [column.name for column in columns]
    for name in names:
        if names.count(name) > 1:
            raise InputError("DUPLICATE_KEY", f"column {name!r} stands twice", where, "give each column its name")
    if sum(column.primary_key for column in columns) != 1:
        raise InputError(
            "CONTRADICTORY_CONTRACT", "one primary key is needed, to name rows", where, "set primaryKey on one column"
        )
    for column in columns:
        if column.sha256_of is not None and column.sha256_of not in names:
            raise unknown("UNKNOWN_COLUMN", "column", column.sha256_of, names, f"{where}: {column.name}: sha256Of")


def _column(item: Mapping[str, Any], where: str) -> Column:
    about = {"column": item["name"]}
    options = item.get("logicalTypeOptions", {})
    found = list(_option_rules(about, item["logicalType"], options, where))
    unique, sha256_of = item.get("unique", False), None
    for rule in item.get("quality", []):
        if rule.get("rule") == "validValues":
            found.append(Expectation("expect_column_values_to_be_in_set", about | {"value_set": rule["validValues"]}))
        elif rule.get("rule") == "duplicateCount":
            unique = True
        elif rule.get("engine") == "great-expectations":
            inner = rule["implementation"]
            found.append(Expectation(inner["type"], about | inner.get("kwargs", {})))
        elif rule.get("engine") == "headrace":
            sha256_of = rule["implementation"]["sha256Of"]
    key = item.get("primaryKey", False)
    return Column(
        name=item["name"],
        physical_type=item["physicalType"],
        required=item.get("required", False) or key,
        unique=unique or key,
        primary_key=key,
        expectations=tuple(found),
        sha256_of=sha256_of,
    )


_OPTIONS_OF = {
    "string": {"minLength", "maxLength", "pattern"},
    "array": {"minItems", "maxItems"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
}


def _option_rules(
    about: dict[str, Any], logical_type: str, options: Mapping[str, Any], where: str
) -> list[Expectation]:
    place = f"{where}.logicalTypeOptions"
    allowed = _OPTIONS_OF.get(logical_type, set())
    for option in options:
        if option not in allowed:
            raise unknown("UNKNOWN_KEY", f"option of {logical_type}", option, sorted(allowed), f"{place}.{option}")
    found = []
    for least, most, kind in (
        ("minimum", "maximum", "expect_column_values_to_be_between"),
        ("minLength", "maxLength", "expect_column_value_lengths_to_be_between"),
        ("minItems", "maxItems", "expect_column_value_lengths_to_be_between"),
    ):
        low, high = options.get(least), options.get(most)
        if low is not None and high is not None and low > high:
            raise InputError("CONTRADICTORY_CONTRACT", f"{least} {low} is above {most} {high}", place, "swap them")
        if low is None and high is None:
            continue
        bounds = {name: value for name, value in (("min_value", low), ("max_value", high)) if value is not None}
        if options.get("exclusiveMinimum"):
            bounds["strict_min"] = True
        if options.get("exclusiveMaximum"):
            bounds["strict_max"] = True
        found.append(Expectation(kind, about | bounds))
    if "pattern" in options:
        found.append(Expectation("expect_column_values_to_match_regex", about | {"regex": options["pattern"]}))
    return found


def _table_rules(rules: list[dict[str, Any]], where: str) -> list[Expectation]:
    found = []
    for position, rule in enumerate(rules):
        if rule.get("rule") == "rowCount":
            found.append(_row_count(rule, f"{where}[{position}]"))
        elif rule.get("engine") == "great-expectations":
            inner = rule["implementation"]
            found.append(Expectation(inner["type"], dict(inner.get("kwargs", {}))))
    return found


def _row_count(rule: Mapping[str, Any], where: str) -> Expectation:
    low, high = rule.get("mustBeBetween", (None, None))
    low, high = rule.get("mustBe", low), rule.get("mustBe", high)
    low, high = rule.get("mustBeGreaterOrEqualTo", low), rule.get("mustBeLessOrEqualTo", high)
    low = rule["mustBeGreaterThan"] + 1 if "mustBeGreaterThan" in rule else low
    high = rule["mustBeLessThan"] - 1 if "mustBeLessThan" in rule else high
    if low is None and high is None:
        raise InputError("MISSING_KEY", "a row count without a bound", where, "add mustBeBetween: [least, most]")
    if low is not None and high is not None and low > high:
        raise InputError("CONTRADICTORY_CONTRACT", f"at least {low} and at most {high} rows", where, "swap them")
    bounds = {name: value for name, value in (("min_value", low), ("max_value", high)) if value is not None}
    return Expectation("expect_table_row_count_to_be_between", bounds)
