"""A policy's files: settings, windows, cases, what is checked, and the short form of snapshots."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.core.errors import InputError
from infra.core.policy import PERMIT_ALL, Span, TenantRules
from infra.core.policy_source import Hours, PolicySource, WindowRule
from infra.core.units import instant, iso
from infra.documents import load_policy
from infra.documents.files import PACKAGED_CONFIG
from infra.documents.policy_cases import Verdict, cases_path, run_cases
from infra.documents.policy_check import Level, check_policy, require_sound
from infra.documents.policy_rules import without_rules
from infra.documents.policy_text import chunks_of, syntax_error
from infra.documents.policy_windows import policy_at, windows_at

POLICIES = PACKAGED_CONFIG / "policies"
POLICY = """\
// A comment; with a semicolon, and "a quote.
@id("allow") @why("All may.")
permit (principal, action, resource);

@id("no-us-spot")
@why("Not there; \\"ever\\".")
forbid (principal in Group::"g", action, resource)
when {
  resource.jurisdiction == "US" &&
  resource.purchase == "spot" &&
  !context.windows.contains("night")
};
"""
SETTINGS = """\
valid_until: 2027-01-01T00:00:00Z
windows:
  - name: night
    hours: [{days: [fri, mon], from: "22:00", to: "06:00", zone: Europe/Berlin}]
tenants:
  - {name: t, groups: [g], burst_run_usd: 1.5, burst_budget_percent: 80}
"""
CASE: dict[str, Any] = {
    "name": "n",
    "request": {"tenant": "t", "kind": "training"},
    "site": {"name": "s", "jurisdiction": "US", "trust_zone": "public"},
    "offer": {"purchase": "spot"},
    "expect": "forbid",
    "policies": ["no-us-spot"],
}
ALLOWED = {**CASE, "site": {**CASE["site"], "jurisdiction": "DE"}, "expect": "allow", "policies": ["allow"]}


def written(tmp_path: Path, text: str = POLICY, settings: str = SETTINGS, cases: Any = (CASE, ALLOWED)) -> Path:
    (tmp_path / "p.settings.yaml").write_text(settings)
    (tmp_path / "p.cases.yaml").write_text(json.dumps({"cases": list(cases)}))
    path = tmp_path / "p.cedar"
    path.write_text(text)
    return path


def test_a_policy_is_its_text_and_its_settings(tmp_path) -> None:
    source = load_policy(written(tmp_path))
    assert source == PolicySource(
        POLICY,
        load_policy().schema_sha256,
        (WindowRule("night", (Hours((0, 4), 1320, 360, "Europe/Berlin"),)),),
        (TenantRules("t", ("g",), 1_500_000, 80),),
        instant("2027-01-01T00:00:00Z"),
    )
    (tmp_path / "p.settings.yaml").unlink()
    alone = load_policy(tmp_path / "p.cedar")
    assert alone == PolicySource(POLICY, source.schema_sha256)
    assert alone.version != source.version


def test_everything_that_matters_changes_the_version(tmp_path) -> None:
    source = load_policy(written(tmp_path))
    others = [
        replace(source, text=POLICY + " "),
        replace(source, schema_sha256="0"),
        replace(source, windows=()),
        replace(source, tenants=()),
        replace(source, valid_until_at=None),
        replace(source, bursting_stopped=True),
    ]
    assert len({source.version, *(other.version for other in others)}) == 7


@pytest.mark.parametrize(
    ("old", "new", "code", "path"),
    [
        ("Europe/Berlin", "Europe/Atlantis", "UNKNOWN_ZONE", "windows[0].hours[0].zone"),
        ('"22:00"', "22", "BAD_TIME", "windows[0].hours[0].from"),
        ("[fri, mon]", "[fri, montag]", "BAD_TYPE", "windows[0].hours[0].days[1]"),
        ("[fri, mon]", "[]", "BAD_TYPE", "windows[0].hours[0].days"),
        ("groups:", "group:", "UNKNOWN_KEY", "tenants[0].group"),
        ("burst_run_usd: 1.5", "burst_run_usd: -1", "BAD_MONEY", "tenants[0].burst_run_usd"),
        ("2027-01-01T00:00:00Z", "2027", "BAD_TIME", "valid_until"),
        ("tenants:\n", "tenants:\n  - {name: t}\n", "DUPLICATE_ENTRY", "tenants[1].name"),
        ("windows:\n", "windows:\n  - {name: night, hours: [{days: [sat], from: '00:00', to: '24:00', zone: UTC}]}\n",
         "DUPLICATE_ENTRY", "windows[1].name"),
    ],
)  # fmt: skip
def test_bad_settings(old: str, new: str, code: str, path: str, tmp_path) -> None:
    assert old in SETTINGS
    file = written(tmp_path, settings=SETTINGS.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_policy(file)
    assert (caught.value.code, caught.value.where) == (code, f"{tmp_path / 'p.settings.yaml'}: {path}")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("&&\n  !context", "=&\n  !context", 10),
        ("permit (principal, action, resource);", "permit (principal, resource);", 3),
        ('"spot" &&', '"spot &&', 10),
        ("};", "}", 12),
        ("forbid", "forbidden", 7),
        ('Group::"g"', "Group::g", 7),
        (POLICY, "", None),
    ],
)
def test_syntax_errors_have_their_line(old: str, new: str, line: int | None, tmp_path) -> None:
    text = POLICY.replace(old, new)
    found = syntax_error(text)
    assert (found[0] if found else None) == line
    if line is not None:
        with pytest.raises(InputError) as caught:
            load_policy(written(tmp_path, text))
        assert (caught.value.code, caught.value.where) == ("BAD_POLICY", f"{tmp_path / 'p.cedar'}: line {line}")


def test_policies_are_found_behind_comments_and_in_spite_of_texts() -> None:
    assert [chunk.line for chunk in chunks_of(POLICY)] == [2, 5]
    assert chunks_of(POLICY)[1].line_of("spot") == 10


def findings(path: Path) -> list[tuple[str, str, str]]:
    checked = check_policy(path)
    return [
        (finding.code, finding.level.value, finding.where.removeprefix(f"{path.parent}/"))
        for finding in checked.findings
    ]


def test_what_is_sound_has_no_findings(tmp_path) -> None:
    assert findings(written(tmp_path)) == []
    assert require_sound(tmp_path / "p.cedar") == load_policy(tmp_path / "p.cedar")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("resource.purchase ==", "resource.purchased ==", [("POLICY_INVALID", "error", "p.cedar: line 10")]),
        ('"spot" &&', "3 &&", [("POLICY_INVALID", "error", "p.cedar: line 5")]),
        ("Group::", "Grop::", [("POLICY_INVALID", "error", "p.cedar: line 7")]),
        ('"US"', '"USA"', [("UNKNOWN_VALUE", "error", "p.cedar: line 9")]),
        ('"spot"', '"spotty"', [("UNKNOWN_VALUE", "error", "p.cedar: line 10")]),
        (
            '"night"',
            '"nigth"',
            [
                ("UNKNOWN_WINDOW", "error", "p.cedar: line 11"),
                ("UNUSED_WINDOW", "warning", "p.settings.yaml: windows[0]"),
            ],
        ),
        ('@id("allow") ', "", [("RULE_WITHOUT_ID", "error", "p.cedar: line 2")]),
        ('@why("All may.")', "", [("RULE_WITHOUT_WHY", "warning", "p.cedar: line 2")]),
        ('"no-us-spot"', '"allow"', [("DUPLICATE_RULE", "error", "p.cedar: line 2")]),
    ],
)
def test_findings(old: str, new: str, expected: list[tuple[str, str, str]], tmp_path) -> None:
    assert old in POLICY
    found = findings(written(tmp_path, POLICY.replace(old, new)))
    assert [finding for finding in found if finding in expected] == expected
    errors = any(level == "error" for _, level, _ in expected)
    assert (not check_policy(tmp_path / "p.cedar").errors) is not errors
    if errors:
        with pytest.raises(InputError) as caught:
            require_sound(tmp_path / "p.cedar")
        assert caught.value.code == expected[0][0]


def test_a_policy_that_no_case_decides_is_told(tmp_path) -> None:
    assert findings(written(tmp_path, cases=(CASE,))) == [("RULE_UNTESTED", "warning", "p.cedar: line 2")]


def test_cases_hold_the_verdict_and_the_policies(tmp_path) -> None:
    path = written(tmp_path)
    assert cases_path(path) == tmp_path / "p.cases.yaml"
    assert all(result.passed for result in run_cases(load_policy(path), cases_path(path)))
    night = {**CASE, "at": "2026-11-23T22:30:00+01:00"}
    path = written(tmp_path, cases=(night,))
    (result,) = run_cases(load_policy(path), cases_path(path))
    assert (result.passed, result.verdict, result.policies) == (False, Verdict.ALLOW, ("allow",))
    assert ("CASE_FAILED", "error", "p.cases.yaml: cases[0]") in findings(path)


def test_a_case_whose_only_fault_is_a_wrong_id_fails(tmp_path) -> None:
    second = POLICY + '@id("other") @why("x") forbid (principal, action, resource in Site::"s");'
    path = written(tmp_path, second, cases=(CASE, {**CASE, "policies": ["other", "no-us-spot"]}))
    one, both = run_cases(load_policy(path), cases_path(path))
    assert (one.verdict, one.passed, both.passed) == (Verdict.FORBID, False, True)
    assert both.policies == ("no-us-spot", "other")


def test_a_case_may_say_what_is_known_of_its_tenant(tmp_path) -> None:
    path = written(tmp_path, cases=({**ALLOWED, "site": CASE["site"], "tenant": {"name": "t", "groups": ["h"]}},))
    (result,) = run_cases(load_policy(path), cases_path(path))
    assert result.passed


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"policies": ["no-such"]}, "UNKNOWN_RULE", "cases[0].policies[0]"),
        ({"policies": []}, "BAD_TYPE", "cases[0].policies"),
        ({"policies": ["allow"]}, "CONTRADICTORY_CASE", "cases[0].policies[0]"),
        ({"expect": "allow"}, "CONTRADICTORY_CASE", "cases[0].policies[0]"),
        ({"site": {**CASE["site"], "jurisdiction": "XX"}}, "UNKNOWN_JURISDICTION", "cases[0].site.jurisdiction"),
        ({"extra": 1}, "UNKNOWN_KEY", "cases[0].extra"),
    ],
)
def test_bad_cases(changes: dict, code: str, path: str, tmp_path) -> None:
    file = written(tmp_path, cases=({**CASE, **changes},))
    with pytest.raises(InputError) as caught:
        run_cases(load_policy(file), cases_path(file))
    assert (caught.value.code, caught.value.where) == (code, f"{tmp_path / 'p.cases.yaml'}: {path}")


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.cedar")), ids=lambda path: path.stem)
def test_what_is_shipped_is_sound_and_every_policy_of_it_is_decided_by_a_case(path: Path) -> None:
    checked = check_policy(path)
    assert checked.findings == ()
    assert checked.cases
    assert Level.ERROR not in {finding.level for finding in checked.findings}


def test_the_schema_knows_exactly_what_the_code_gives() -> None:
    """Each attribute that the code gives can be read by a policy that the schema accepts, and there is no other."""
    import re

    from infra.core.policy_facts import OFFER_ATTRIBUTES
    from infra.core.policy_question import CONTEXT_ATTRIBUTES

    text = (POLICIES / "headrace.cedarschema").read_text()

    def names(block: str) -> set[str]:
        return set(re.findall(r"^  (\w+)\??:", text.split(block, 1)[1].split("};", 1)[0], flags=re.MULTILINE))

    assert names("entity Offer in [Site] = {") == set(OFFER_ATTRIBUTES)
    assert names("type Placement = {") == CONTEXT_ATTRIBUTES
    assert names("entity Tenant in [Group] = {") == {"name", "burst_run_cents", "burst_budget_percent"}


# ---------------------------------------------------------------- windows


def spans(hours: Hours, now: str, days: float = 8) -> list[tuple[str, str]]:
    (window,) = windows_at((WindowRule("w", (hours,)),), instant(now), days * 86_400)
    return [(iso(span.start_at), iso(span.end_at)) for span in window.spans]


BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("hours", "now", "first"),
    [
        (Hours((0, 1, 2, 3, 4, 5, 6), 1320, 360, BERLIN), "2026-07-01T12:00:00Z",
         ("2026-07-01T20:00:00Z", "2026-07-02T04:00:00Z")),
        (Hours((0, 1, 2, 3, 4, 5, 6), 1320, 360, BERLIN), "2026-01-01T12:00:00Z",
         ("2026-01-01T21:00:00Z", "2026-01-02T05:00:00Z")),
        # The night in which clocks go forward is an hour shorter, the one in which they go back an hour longer.
        (Hours((5,), 1320, 360, BERLIN), "2026-03-28T12:00:00Z", ("2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z")),
        (Hours((5,), 1320, 360, BERLIN), "2026-10-24T12:00:00Z", ("2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z")),
        # 02:30 does not exist on that day: the window begins when the clocks jump to 03:00.
        (Hours((6,), 150, 240, BERLIN), "2026-03-28T12:00:00Z", ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z")),
        # 02:30 exists twice on that one: from the first until the second.
        (Hours((6,), 150, 151, BERLIN), "2026-10-24T12:00:00Z", ("2026-10-25T00:30:00Z", "2026-10-25T01:31:00Z")),
        # Begun yesterday, holds now.
        (Hours((1,), 1320, 360, "UTC"), "2026-11-25T03:00:00Z", ("2026-11-24T22:00:00Z", "2026-11-25T06:00:00Z")),
        # A whole day.
        (Hours((2,), 0, 1440, "Asia/Kolkata"), "2026-11-24T12:00:00Z", ("2026-11-24T18:30:00Z", "2026-11-25T18:30:00Z")),
        (Hours((2,), 600, 600, "UTC"), "2026-11-24T12:00:00Z", ("2026-11-25T10:00:00Z", "2026-11-26T10:00:00Z")),
    ],
)  # fmt: skip
def test_windows_are_right_where_clocks_change(hours: Hours, now: str, first: tuple[str, str]) -> None:
    assert spans(hours, now)[0] == first


def test_hours_that_touch_are_one_span() -> None:
    hours = (Hours((5,), 0, 1440, BERLIN), Hours((6,), 0, 1440, BERLIN), Hours((4,), 1200, 360, BERLIN))
    (window,) = windows_at((WindowRule("w", hours),), instant("2026-11-25T00:00:00Z"))
    assert [(iso(span.start_at), iso(span.end_at)) for span in window.spans] == [
        ("2026-11-27T19:00:00Z", "2026-11-29T23:00:00Z")
    ]


ZONES = ("UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo")


@given(
    st.sampled_from(ZONES),
    st.lists(st.integers(0, 6), min_size=1, unique=True).map(lambda days: tuple(sorted(days))),
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.integers(0, 2 * 365 * 24 * 60),
    st.integers(0, 8 * 24 * 60),
)
def test_a_window_holds_when_its_clocks_say_so(zone, days, start, end, offset, ahead) -> None:
    """Against the wall clock, minute by minute; only the hour that clocks show twice may differ, and counts as inside."""
    now_at = instant("2026-01-01T00:00:00Z") + offset * 60.0
    at = now_at + ahead * 60.0
    (window,) = windows_at((WindowRule("w", (Hours(days, start, end, zone),)),), now_at)

    def shows(moment: datetime) -> bool:
        minute, today = moment.hour * 60 + moment.minute, moment.weekday()
        if end > start:
            return today in days and start <= minute < end
        return (today in days and minute >= start) or ((today - 1) % 7 in days and minute < end)

    moment = datetime.fromtimestamp(at, ZoneInfo(zone))
    holds = window.holds(at)
    shown_twice = moment.replace(fold=0).utcoffset() != moment.replace(fold=1).utcoffset()
    if shown_twice:
        assert holds or not shows(moment)
    else:
        assert holds == shows(moment)
    assert all(span.start_at < span.end_at for span in window.spans)
    assert timedelta(0) <= timedelta(seconds=at - now_at)


def test_a_snapshot_has_the_windows_of_its_instant() -> None:
    source = load_policy()
    policy = policy_at(source, instant("2026-07-01T12:00:00Z"))
    assert (policy.version, policy.text, policy.tenants) == (source.version, source.text, source.tenants)
    assert policy.windows[0].spans[0] == Span(instant("2026-07-01T18:00:00Z"), instant("2026-07-02T04:00:00Z"))


# ---------------------------------------------------------------- the short form


def test_a_snapshot_may_have_rules_or_no_policy() -> None:
    rules = [{"id": "no-us", "jurisdictions": ["US"]}]
    told = without_rules({"policy": {"version": "v", "rules": rules}}, "f")["policy"]
    assert told["version"] == "v"
    assert told["text"].startswith(PERMIT_ALL)
    assert '@id("no-us")' in told["text"]
    assert without_rules({}, "f") == {"policy": {"version": "none"}}
    assert without_rules([], "f") == []


@pytest.mark.parametrize(
    ("rules", "code", "path"),
    [
        ([{"id": "a", "jurisdictions": ["US", "EUR"]}], "UNKNOWN_RESIDENCY_TAG", "policy.rules[0].jurisdictions[1]"),
        ([{"id": "a", "jurisdictions": ["PUBLIC"]}], "BAD_JURISDICTION", "policy.rules[0].jurisdictions[0]"),
        ([{"id": "a", "purchases": ["cheap"]}], "UNKNOWN_VALUE", "policy.rules[0].purchases[0]"),
        ([{"id": "a", "purchase": ["spot"]}], "UNKNOWN_KEY", "policy.rules[0].purchase"),
        ([{"id": "a"}, {"id": "a"}], "DUPLICATE_ENTRY", "policy.rules[1]"),
        ([{}], "MISSING_KEY", "policy.rules[0].id"),
    ],
)
def test_bad_rules(rules: list, code: str, path: str) -> None:
    with pytest.raises(InputError) as caught:
        without_rules({"policy": {"version": "v", "rules": rules}}, "f")
    assert (caught.value.code, caught.value.where) == (code, f"f: {path}")


def test_rules_and_a_text_contradict() -> None:
    with pytest.raises(InputError) as caught:
        without_rules({"policy": {"version": "v", "rules": [], "text": ""}}, "f")
    assert caught.value.code == "CONTRADICTORY_POLICY"
