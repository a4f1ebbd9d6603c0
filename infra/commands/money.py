"""``headrace budget`` shows and sets what tenants may spend, ``headrace ledger`` every line of their accounts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.commands.shared import control_here, handle_errors, print_json
from infra.core.budget import Balance
from infra.core.errors import ConflictError, InputError
from infra.core.units import iso, micro_from_usd, period_of, usd, usd_float
from infra.ports import LedgerEntry
from infra.render.prose import short_run

if TYPE_CHECKING:
    from infra.wiring import ControlPlane

_TENANT = Annotated[str | None, typer.Option(metavar="NAME", help="Only this tenant.")]
_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]

budget_app = typer.Typer(help="What tenants may spend in a period, and what is left.", invoke_without_command=True)


@budget_app.callback()
def budget(
    context: typer.Context,
    tenant: _TENANT = None,
    period: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Only this calendar month (UTC).")] = None,
    as_json: _JSON = False,
) -> None:
    """Show the accounts: limit, settled, reserved and available. All periods unless one is named."""
    if context.invoked_subcommand is not None:
        return
    with handle_errors(as_json):
        balances = control_here().database.ledger.balances(None if period is None else month(period))
        if tenant is not None:
            balances = tuple(balance for balance in balances if balance.tenant == tenant)
            if not balances:
                raise _unknown_tenant(tenant, {one.tenant for one in control_here().database.ledger.balances()})
    if as_json:
        print_json({"balances": [balance_json(balance) for balance in balances]})
        return
    table = Table(box=box.SIMPLE)
    for heading in ("tenant", "period"):
        table.add_column(heading)
    for heading in ("limit", "settled", "reserved", "available"):
        table.add_column(heading, justify="right")
    for one in balances:
        amounts = (one.limit_micro, one.settled_micro, one.reserved_micro, one.available_micro)
        table.add_row(one.tenant, one.period, *(usd(amount) for amount in amounts))
    Console().print(table if balances else "No account yet: headrace budget set TENANT USD")


@budget_app.command("set")
def budget_set(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="A tenant of tenants.yaml, or one with an account.")],
    amount: Annotated[str, typer.Argument(metavar="USD", help="The new limit in dollars, for example 12.50.")],
    period: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="Calendar month (UTC); the current one when not given.")
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Set a tenant's limit for a period. It cannot be less than what is already settled or reserved."""
    with handle_errors(as_json):
        limit_micro = micro_from_usd(amount, "USD")
        control = control_here()
        now_at = control.clock.now()
        _require_tenant(control, tenant)
        balance = control.database.ledger.set_limit(
            tenant, period_of(now_at) if period is None else month(period), limit_micro, now_at
        )
    if as_json:
        print_json(balance_json(balance))
    else:
        typer.echo(
            f"{balance.tenant} {balance.period}: limit {usd(balance.limit_micro)}, {usd(balance.available_micro)} available"
        )


def ledger(
    tenant: _TENANT = None,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="Only this run (id, or its first 8 characters).")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Add up all lines and compare them with the balances.")
    ] = False,
    as_json: _JSON = False,
) -> None:
    """Show the ledger's lines in order. Lines are never changed or deleted; the database refuses it."""
    with handle_errors(as_json):
        database = control_here().database
        run_id = None
        if run is not None:
            found = database.runs.run(run)
            # Money outlives a run's record elsewhere; a full id is enough to look for its lines.
            run_id = found.run_id if found else run
        entries = database.ledger.entries(tenant, run_id)
        if run is not None and not entries and found is None:
            raise InputError("UNKNOWN_RUN", f"there is no run {run!r}", "--run", "see `headrace runs`")
        if tenant is not None and not entries:
            known = {one.tenant for one in database.ledger.balances()}
            if tenant not in known:
                raise _unknown_tenant(tenant, known)
        if check:
            _check(database)
    if as_json:
        print_json({"entries": [entry_json(entry) for entry in entries], **({"checked": True} if check else {})})
        return
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    for heading in ("#", "time", "what"):
        table.add_column(heading, no_wrap=True)
    table.add_column("account", overflow="fold", min_width=len("tenants/2026-11"))
    table.add_column("amount", justify="right", no_wrap=True)
    table.add_column("run, attempt, parts", overflow="fold")
    for entry in entries:
        table.add_row(
            str(entry.sequence),
            iso(round(entry.at)),
            entry.kind.value,
            f"{entry.tenant}/{entry.period}",
            usd(entry.amount_micro),
            Text(_of_run(entry)),
        )
    Console().print(table if entries else "No line yet.")
    if check:
        typer.echo("Checked: the lines add up to the balances, and no limit was ever exceeded.")


def register(app: typer.Typer) -> None:
    """Add ``budget`` and ``ledger``."""
    app.add_typer(budget_app, name="budget")
    app.command("ledger")(ledger)


def balance_json(balance: Balance) -> dict[str, Any]:
    """An account as plain JSON: dollars for people, micro-dollars for programs."""
    amounts = {
        "limit": balance.limit_micro,
        "settled": balance.settled_micro,
        "reserved": balance.reserved_micro,
        "available": balance.available_micro,
    }
    return {
        "tenant": balance.tenant,
        "period": balance.period,
        **{f"{name}_usd": usd_float(amount) for name, amount in amounts.items()},
        **{f"{name}_micro": amount for name, amount in amounts.items()},
    }


def entry_json(entry: LedgerEntry) -> dict[str, Any]:
    """A line of the ledger as plain JSON."""
    parts = entry.parts
    return {
        "sequence": entry.sequence,
        "at": iso(entry.at),
        "kind": entry.kind.value,
        "tenant": entry.tenant,
        "period": entry.period,
        "run_id": entry.run_id or None,
        "attempt": entry.attempt if entry.run_id else None,
        "amount_usd": usd_float(entry.amount_micro),
        "amount_micro": entry.amount_micro,
        "parts": None if parts is None else parts_json(parts),
    }


def parts_json(parts: Any) -> dict[str, int]:
    """Cost by part in micro-dollars, with the total."""
    return {
        "compute_micro": parts.compute_micro,
        "boot_micro": parts.boot_micro,
        "egress_micro": parts.egress_micro,
        "rework_micro": parts.rework_micro,
        "total_micro": parts.total_micro,
    }


def _of_run(entry: LedgerEntry) -> str:
    if not entry.run_id:
        return ""
    told = f"{short_run(entry.run_id)} #{entry.attempt}"
    if entry.parts is None:
        return told
    amounts = parts_json(entry.parts)
    del amounts["total_micro"]
    parts = ", ".join(f"{name.removesuffix('_micro')} {usd(amount)}" for name, amount in amounts.items() if amount)
    return f"{told}\n{parts}" if parts else told


def month(text: str) -> str:
    """The calendar month that a person wrote.

    Raises:
        InputError: ``BAD_PERIOD``.
    """
    if re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text) is None:
        raise InputError("BAD_PERIOD", f"{text!r} is not a calendar month", "--period", "write it as 2026-11")
    return text


def _require_tenant(control: ControlPlane, tenant: str) -> None:
    """Refuse a name that nobody has introduced: a slip of the pen must not open an account."""
    from infra.documents import load_tenants

    known = {one.tenant for one in control.database.ledger.balances()}
    known |= {one.name for one in load_tenants(control.settings.config_dir / "tenants.yaml")}
    if tenant not in known:
        raise _unknown_tenant(tenant, known)


def _unknown_tenant(tenant: str, known: set[str]) -> InputError:
    names = ", ".join(sorted(known)) or "none yet"
    remedy = f"use one of {names}, or add it to tenants.yaml"
    return InputError("UNKNOWN_TENANT", f"there is no tenant {tenant!r}", "tenant", remedy)


def _check(database: Any) -> None:
    from infra.adapters.ledger_check import problems_of

    problems = problems_of(database)
    if problems:
        raise ConflictError(
            "LEDGER_DISAGREES", "; ".join(problems[:5]), "ledger", "stop all writers and restore a backup"
        )
