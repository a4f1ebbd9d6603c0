"""``headrace policy explain``: what the policy says of one placement, by which of its policies, and when that changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.adapters.clock import SystemClock
from infra.commands.shared import handle_errors, print_json
from infra.core.budget import Balance
from infra.core.cedar import DEFAULT_DENY, Answer
from infra.core.errors import UnavailableError
from infra.core.inventory import DatasetVersion, Offer, Site
from infra.core.policy import Policy
from infra.core.policy_facts import OFFER_ATTRIBUTES, Facts, Moved
from infra.core.policy_question import Question
from infra.core.policy_source import PolicySource
from infra.core.units import instant, iso, micro_from_usd, period_of
from infra.core.workload import DatasetRef, WorkKind, WorkloadRequest
from infra.documents.policy import default_policy_path, load_policy
from infra.documents.policy_windows import policy_at
from infra.documents.problems import unknown
from infra.documents.sites import load_sites
from infra.settings import Settings

_AMPLE_MICRO = 10**15
_DEFAULT_WHY = "No policy permits it."


def explain(
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Who pays.")],
    kind: Annotated[str, typer.Option(metavar="KIND", help=f"One of: {', '.join(WorkKind)}.")],
    site: Annotated[str, typer.Option(metavar="NAME", help="A configured site.")],
    offer: Annotated[str, typer.Option(metavar="NAME", help="An offer of it.")],
    at: Annotated[str | None, typer.Option(metavar="INSTANT", help="Start, as 2026-11-24T20:00:00+01:00; now.")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A dataset that it reads; may be given again.")
    ] = None,
    devices: Annotated[int, typer.Option(metavar="N", min=1, help="How many devices.")] = 1,
    priority: Annotated[int, typer.Option(metavar="N", min=0, max=100, help="Priority.")] = 50,
    checkpointed: Annotated[bool, typer.Option(help="Whether it goes on from a checkpoint.")] = True,
    cost: Annotated[str, typer.Option(metavar="USD", help="What the start needs.")] = "0",
    moved_gb: Annotated[float, typer.Option(metavar="GB", min=0.0, help="Data that must be moved there.")] = 0.0,
    egress: Annotated[str, typer.Option(metavar="USD", help="What moving it costs.")] = "0",
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="This policy instead of the platform's current one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain what the policy says of one placement.

    Without --policy the platform's current policy is asked, and the configured default.cedar when there is no platform.
    Exit status: 0 whether it is allowed or not, 2 for bad input.
    """
    with handle_errors(as_json):
        start_at = SystemClock().now() if at is None else instant(at, "--at")
        source, database = policy_in_force(policy)
        wanted = _kind(kind)
        place, sold = _offer(site, offer)
        told = policy_at(source, start_at)
        datasets = tuple(sorted(set(dataset or ())))
        facts = replace(
            _facts(tenant, wanted, datasets, database, start_at),
            devices=devices,
            priority=priority,
            checkpointed=checkpointed,
        )
        moved = Moved(datasets if moved_gb else (), round(moved_gb * 1e9), micro_from_usd(egress, "--egress"))
        needed = micro_from_usd(cost, "--cost")
        answer = Question(told, facts).answer_in_full(place, sold, start_at, needed, moved)
        changes = _changes(told, facts, place, sold, start_at, needed, moved, answer)
    body = _json(told, answer, facts, place, sold, start_at, changes)
    if as_json:
        print_json(body)
    else:
        _print(body)


def policy_in_force(file: Path | None) -> tuple[PolicySource, Any]:
    """The policy of a file, else the platform's current one with its database, else the configured default."""
    if file is not None:
        return load_policy(file), None
    try:
        from infra.adapters.current_policy import current_policy
        from infra.wiring import control_plane

        database = control_plane().database
        return current_policy(database).source, database
    except UnavailableError as error:
        if error.code not in ("DATABASE_MISSING", "SCHEMA_MISSING", "NO_POLICY"):
            raise
    return load_policy(default_policy_path()), None


def _kind(name: str) -> WorkKind:
    if name not in tuple(WorkKind):
        raise unknown("UNKNOWN_VALUE", "kind of work", name, WorkKind, "--kind")
    return WorkKind(name)


def _offer(site: str, offer: str) -> tuple[Site, Offer]:
    sites = {each.name: each for each in load_sites(Settings.from_env().sites_dir)}
    if site not in sites:
        raise unknown("UNKNOWN_SITE", "configured site", site, sorted(sites), "--site")
    offers = {each.name: each for pool in sites[site].pools for each in pool.offers}
    if offer not in offers:
        raise unknown("UNKNOWN_OFFER", f"offer of {site}", offer, sorted(offers), "--offer")
    return sites[site], offers[offer]


def _facts(tenant: str, kind: WorkKind, datasets: tuple[str, ...], database: Any, at: float) -> Facts:
    """What the catalogue and the ledger know; without a platform the data is public and the budget untouched."""
    versions: list[DatasetVersion] = []
    balance = Balance(tenant, period_of(at), _AMPLE_MICRO)
    if database is not None:
        entries = [database.catalog.find(name, "latest") for name in datasets]
        versions = [entry.version for entry in entries if entry is not None]
        balance = database.ledger.balance(tenant, period_of(at)) or balance
    refs = tuple(DatasetRef(name, "latest") for name in datasets)
    request = WorkloadRequest(kind, tenant, refs, 1.0)
    facts = Facts.of(request, tuple(versions), balance)
    return facts if facts.residency_tags else replace(facts, residency_tags=("PUBLIC",))


def _changes(
    policy: Policy,
    facts: Facts,
    site: Site,
    offer: Offer,
    at: float,
    needed: int,
    moved: Moved,
    before: Answer,
) -> list[dict[str, Any]]:
    """Instants of the next week at which a window changes the answer."""
    found, question = [], Question(policy, facts)
    for edge in policy.edges(at, float("inf")):
        after = question.answer_in_full(site, offer, edge, needed, moved)
        if after != before:
            found.append({"at": iso(edge), "allowed": after.allowed, "policies": list(after.deciding)})
        before = after
    return found


def _json(
    policy: Policy,
    answer: Answer,
    facts: Facts,
    site: Site,
    offer: Offer,
    at: float,
    changes: list[dict[str, Any]],
) -> dict[str, Any]:
    whys = {rule.id: rule.why for rule in policy.program.rules} | {DEFAULT_DENY: _DEFAULT_WHY}
    deciding = [
        {"id": rule_id, "effect": "permit" if answer.allowed else "forbid", "why": whys[rule_id]}
        for rule_id in answer.deciding
    ]
    return {
        "allowed": answer.allowed,
        "policies": deciding,
        "version": policy.version,
        "at": iso(at),
        "stale": policy.valid_until_at is not None and at > policy.valid_until_at,
        "windows": list(policy.windows_at(at)),
        "bursting_stopped": policy.bursting_stopped,
        "tenant": {"name": facts.tenant, "groups": list(policy.tenant(facts.tenant).groups)},
        "offer": {name: _plain(get(site, offer)) for name, get in OFFER_ATTRIBUTES.items()},
        "changes": changes,
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _print(body: dict[str, Any]) -> None:
    console = Console()
    verdict = Text("allowed", style="green") if body["allowed"] else Text("forbidden", style="red")
    stopped = ", all bursting is stopped" if body["bursting_stopped"] else ""
    windows = ", ".join(body["windows"]) or "no window"
    console.print(verdict, Text(f"at {body['at']} ({windows}) by policy {body['version'][:19]}{stopped}"))
    table = Table()
    for heading in ("policy", "effect", "why"):
        table.add_column(heading, overflow="fold")
    for rule in body["policies"]:
        table.add_row(Text(rule["id"]), Text(rule["effect"]), Text(rule["why"]))
    console.print(table)
    for change in body["changes"][:4]:
        then = "allowed" if change["allowed"] else "forbidden"
        console.print(Text(f"from {change['at']}: {then} by {', '.join(change['policies'])}"))
    if body["stale"]:
        console.print(Text("The policy is stale: it forbids everything until a newer one is applied.", style="red"))
