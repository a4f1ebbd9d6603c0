"""The residency rule."""

from __future__ import annotations

import pytest

from infra.core.errors import InputError
from infra.core.jurisdictions import COUNTRIES, GROUPS, combine, countries_of, permits, require_country


@pytest.mark.parametrize(
    ("tags", "country", "allowed"),
    [
        (("EU",), "DE", True),
        (("EU",), "US", False),
        (("EU",), "CH", False),
        (("EU",), "NO", False),
        (("EEA",), "NO", True),
        (("EU",), "GB", False),
        (("EU", "CH"), "CH", True),
        (("DE",), "DE", True),
        (("DE",), "FR", False),
        (("PUBLIC",), "US", True),
        (("PUBLIC", "DE"), "US", True),
        (("DACH",), "AT", True),
        ((), "DE", False),
    ],
)
def test_tags_are_alternatives(tags, country, allowed):
    assert permits(tags, country) is allowed


@pytest.mark.parametrize("tag", ["eu", "mars", "", "EUROPE", "UK", "de"])
def test_an_unknown_tag_is_refused_and_never_read_as_anywhere(tag):
    with pytest.raises(InputError) as raised:
        permits(("PUBLIC", tag), "DE")
    assert raised.value.code == "UNKNOWN_RESIDENCY_TAG"
    assert "EEA" in raised.value.remedy


@pytest.mark.parametrize("code", ["XX", "EU", "PUBLIC", "de", ""])
def test_a_site_lies_in_one_country(code):
    with pytest.raises(InputError, match="UNKNOWN_JURISDICTION"):
        require_country(code, "site x")


def test_groups_are_made_of_countries_and_no_country_is_a_group():
    assert all(members <= COUNTRIES for members in GROUPS.values())
    assert not COUNTRIES & set(GROUPS)
    assert len(GROUPS["EU"]) == 27
    assert len(GROUPS["EEA"]) == 30
    assert len(COUNTRIES) == 249


def test_public_is_everything():
    assert countries_of("PUBLIC") is None


@pytest.mark.parametrize(
    ("lists", "result"),
    [
        ((("PUBLIC",), ("PUBLIC",)), ("PUBLIC",)),
        ((("EU",), ("PUBLIC",)), ("EU",)),
        ((("EU", "CH"), ("DACH",)), ("AT", "CH", "DE")),
        ((), ("PUBLIC",)),
    ],
)
def test_what_is_made_from_several_may_be_where_each_may(lists, result):
    assert combine(lists) == result


def test_data_without_a_common_country_is_not_combined():
    with pytest.raises(InputError, match="NO_COMMON_RESIDENCY"):
        combine((("DE",), ("US",)))
