"""Snapshots in files: the record format, with what a person may get wrong checked as well."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path

from infra.core.errors import InputError
from infra.core.placement.snapshot import Snapshot
from infra.documents.codec import read_record
from infra.documents.files import display, read_tree
from infra.documents.policy import require_cedar
from infra.documents.policy_rules import without_rules
from infra.documents.problems import join, unknown


def load_snapshot(path: str | Path) -> Snapshot:
    """The snapshot of a JSON file (``.yaml`` is read as YAML with the same keys).

    Its policy may be left out, which allows everything, or be a list of rules instead of Cedar.

    Raises:
        InputError: with the file and the dotted path of what is wrong.
    """
    path = Path(path)
    where = display(path)
    snapshot = read_record(Snapshot, without_rules(read_tree(path), where), where)
    check_snapshot(snapshot, where)
    return snapshot


def check_snapshot(snapshot: Snapshot, where: str) -> None:
    """Refuse a snapshot that says a thing twice, or speaks of a site or offer that it does not have.

    Raises:
        InputError: ``DUPLICATE_ENTRY``, ``UNKNOWN_SITE``, ``UNKNOWN_OFFER`` or ``BAD_POLICY``.
    """
    _unique(where, "sites", (site.name for site in snapshot.sites))
    _unique(where, "datasets", ((dataset.name, dataset.version) for dataset in snapshot.datasets))
    _unique(where, "balances", ((balance.tenant, balance.period) for balance in snapshot.balances))
    _unique(where, "rates", ((rate.kind.value, rate.device) for rate in snapshot.rates))
    _unique(where, "loads", ((load.site, load.offer) for load in snapshot.loads))
    _unique(where, "spot", ((entry.site, entry.offer) for entry in snapshot.spot))
    _unique(where, "health", (entry.site for entry in snapshot.health))
    _unique(where, "policy.windows", (window.name for window in snapshot.policy.windows))
    _unique(where, "policy.tenants", (rules.tenant for rules in snapshot.policy.tenants))
    require_cedar(snapshot.policy.text, join(where, "policy.text"))
    offers = {site.name: [offer.name for pool in site.pools for offer in pool.offers] for site in snapshot.sites}
    for index, entry in enumerate(snapshot.health):
        _known_site(entry.site, offers, join(where, f"health[{index}].site"))
    for index, load in enumerate(snapshot.loads):
        _known_site(load.site, offers, join(where, f"loads[{index}].site"))
        if load.offer not in offers[load.site]:
            place = join(where, f"loads[{index}].offer")
            raise unknown("UNKNOWN_OFFER", f"offer of {load.site}", load.offer, offers[load.site], place)


def _known_site(name: str, offers: dict[str, list[str]], where: str) -> None:
    if name not in offers:
        raise unknown("UNKNOWN_SITE", "site of this snapshot", name, offers, where)


def _unique(where: str, path: str, keys: Iterable[Hashable]) -> None:
    seen: set[Hashable] = set()
    for index, key in enumerate(keys):
        if key in seen:
            shown = "/".join(str(part) for part in key) if isinstance(key, tuple) else key
            raise InputError(
                "DUPLICATE_ENTRY", f"{shown} stands twice", join(where, f"{path}[{index}]"), "keep one of them"
            )
        seen.add(key)
