"""Jurisdictions: ISO 3166-1 alpha-2 codes, named groups of them, and the one residency rule.

The same :func:`permits` is called when deciding and again at the site, so the two can never differ.
"""

from __future__ import annotations

from functools import lru_cache

from infra.core.errors import InputError

PUBLIC = "PUBLIC"
"""The tag of data that may be processed anywhere."""

COUNTRIES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()
)

_EU = frozenset("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split())
_EEA = _EU | {"IS", "LI", "NO"}

GROUPS: dict[str, frozenset[str]] = {
    "EU": _EU,
    "EEA": _EEA,
    "DACH": frozenset({"DE", "AT", "CH"}),
    "EFTA": frozenset({"CH", "IS", "LI", "NO"}),
    "FIVE-EYES": frozenset({"AU", "CA", "GB", "NZ", "US"}),
}


def countries_of(tag: str, where: str = "residency") -> frozenset[str] | None:
    """Countries that a residency tag allows; ``None`` for :data:`PUBLIC`, which allows all.

    Raises:
        InputError: ``UNKNOWN_RESIDENCY_TAG``: an unknown tag is refused, never read as "anywhere".
    """
    if tag == PUBLIC:
        return None
    if tag in GROUPS:
        return GROUPS[tag]
    if tag in COUNTRIES:
        return frozenset({tag})
    known = ", ".join([PUBLIC, *sorted(GROUPS)])
    raise InputError(
        "UNKNOWN_RESIDENCY_TAG",
        f"{tag!r} is no residency tag",
        where,
        f"use an ISO 3166-1 alpha-2 code in capitals or one of {known}",
    )


def require_country(code: str, where: str) -> str:
    """Return ``code`` when it is a country.

    Raises:
        InputError: ``UNKNOWN_JURISDICTION``.
    """
    if code not in COUNTRIES:
        raise InputError(
            "UNKNOWN_JURISDICTION",
            f"{code!r} is no country",
            where,
            "a site is in one country: use its ISO 3166-1 alpha-2 code in capitals",
        )
    return code


@lru_cache(maxsize=4096)
def permits(tags: tuple[str, ...], country: str) -> bool:
    """Whether data with these residency tags may be processed in ``country``.

    Tags are alternatives: ``("EU", "CH")`` allows the European Union and Switzerland. No tag at all allows nothing.

    Raises:
        InputError: ``UNKNOWN_RESIDENCY_TAG``.
    """
    allowed = [countries_of(tag) for tag in tags]
    return any(countries is None or country in countries for countries in allowed)


def combine(tag_lists: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Residency of something made from several datasets: only where each of them may be.

    Lists that allow everything add nothing; equal lists keep their names; otherwise the common countries are named.

    Raises:
        InputError: ``NO_COMMON_RESIDENCY`` when no country is allowed by all.
    """
    narrow = sorted({tuple(sorted(tags)) for tags in tag_lists if PUBLIC not in tags})
    if not narrow:
        return (PUBLIC,)
    if len(narrow) == 1:
        return narrow[0]
    allowed = [frozenset().union(*(countries_of(tag) or frozenset() for tag in tags)) for tags in narrow]
    common = frozenset.intersection(*allowed)
    if not common:
        raise InputError(
            "NO_COMMON_RESIDENCY",
            "no country may hold all of it",
            "residency " + " and ".join("+".join(tags) for tags in narrow),
            "do not combine these datasets",
        )
    return tuple(sorted(common))
