"""``headrace policy``: test, check and explain a policy's files; apply one, look back, stop and resume all bursting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.commands.policy_explain import explain, policy_in_force
from infra.commands.shared import control_here, handle_errors, print_json
from infra.core.canonical import plain
from infra.core.cedar import parsed
from infra.core.policy_source import PolicySource, WindowRule
from infra.core.units import iso
from infra.documents.files import display
from infra.documents.policy import DAYS, default_policy_path, load_policy
from infra.documents.policy_cases import CaseResult, cases_path, run_cases
from infra.documents.policy_check import Finding, Level, check_policy, require_sound
from infra.ports import PolicyRecord

_File = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="Policy file; the configured default.cedar when not given.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, for those who read the history.")]


def run_test(policy: _File = None, as_json: _Json = False) -> None:
    """Hold a policy against the cases beside it (NAME.cases.yaml for NAME.cedar).

    A case fails when the verdict or the policies that made it differ. Exit status: 0 when all pass, 1 when one fails, 2
    for a malformed file.
    """
    with handle_errors(as_json):
        path = policy or default_policy_path()
        results = run_cases(load_policy(path), cases_path(path))
    if as_json:
        print_json([{**plain(result), "passed": result.passed} for result in results])
    else:
        Console().print(_results(results))
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def check(policy: _File = None, as_json: _Json = False) -> None:
    """Check a policy's syntax, its schema, its windows and its cases, with the line of whatever is wrong.

    Exit status: 0 when it can be applied, also with warnings; 2 when it cannot.
    """
    with handle_errors(as_json):
        path = policy or default_policy_path()
        checked = check_policy(path)
    version = None if checked.source is None else checked.source.version
    if as_json:
        print_json({"version": version, "findings": plain(checked.findings), "cases": len(checked.cases)})
    else:
        for finding in checked.findings:
            typer.echo(_told(finding), err=finding.level is Level.ERROR)
        if not checked.findings:
            typer.echo(f"{display(path)}: nothing wrong, {len(checked.cases)} cases pass, version {version}")
    if checked.errors:
        raise typer.Exit(2)


def show(policy: _File = None, as_json: _Json = False) -> None:
    """Show the platform's current policy, or a policy's file; the configured default.cedar when there is no platform."""
    with handle_errors(as_json):
        source, _ = policy_in_force(policy)
    if as_json:
        print_json({"version": source.version, "rules": _rules(source), **plain(source)})
        return
    table = Table(title=f"Policy {source.version[:19]}, {_validity(source)}", title_justify="left")
    for heading in ("policy", "effect", "why"):
        table.add_column(heading, overflow="fold")
    for rule in parsed(source.text).rules:
        table.add_row(Text(rule.id), Text(rule.effect), Text(rule.why))
    console = Console()
    console.print(table)
    for window in source.windows:
        console.print(Text(f"window {window.name}: {_hours(window)}"))
    for tenant in source.tenants:
        console.print(Text(f"tenant {tenant.tenant}: {', '.join(tenant.groups) or 'no group'}"))


def apply(
    policy: Annotated[Path, typer.Argument(metavar="FILE", help="Policy file, NAME.cedar, with its cases beside it.")],
    why: _Why = "",
    as_json: _Json = False,
) -> None:
    """Check a policy, run its cases and make it the platform's current one. From then on no decision uses the old one."""
    with handle_errors(as_json):
        source = require_sound(policy)
        from infra.adapters.current_policy import apply_policy

        control = control_here()
        record = apply_policy(control.database, source, why or display(policy), control.clock.now())
    _tell(record, as_json)


def stop_bursting(why: _Why = "", as_json: _Json = False) -> None:
    """Emergency stop: from now on nothing is placed on bought devices. Running work goes on; owned devices are used."""
    with handle_errors(as_json):
        from infra.adapters.current_policy import stop_bursting as stop

        control = control_here()
        record = stop(control.database, why, control.clock.now())
    _tell(record, as_json)


def resume_bursting(why: _Why = "", as_json: _Json = False) -> None:
    """End the emergency stop."""
    with handle_errors(as_json):
        from infra.adapters.current_policy import resume_bursting as resume

        control = control_here()
        record = resume(control.database, why, control.clock.now())
    _tell(record, as_json)


def history(
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 20, as_json: _Json = False
) -> None:
    """Show which policies were current, newest first."""
    with handle_errors(as_json):
        records = control_here().database.policies.history(limit)
    if as_json:
        print_json([_record_json(record) for record in records])
        return
    table = Table()
    for heading in ("#", "since", "change", "version", "bursting", "why"):
        table.add_column(heading, overflow="fold")
    for record in records:
        stopped = "stopped" if record.source.bursting_stopped else "by policy"
        row = (
            str(record.sequence),
            iso(round(record.at)),
            record.change.value,
            record.version[:19],
            stopped,
            record.why,
        )
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table if records else "No policy was applied yet: headrace policy apply FILE")


def _tell(record: PolicyRecord, as_json: bool) -> None:
    if as_json:
        print_json(_record_json(record))
        return
    stopped = ", all bursting is stopped" if record.source.bursting_stopped else ""
    typer.echo(f"policy {record.version} is current since {iso(round(record.at))} (#{record.sequence}){stopped}")


def _record_json(record: PolicyRecord) -> dict[str, Any]:
    return {
        "sequence": record.sequence,
        "at": iso(record.at),
        "change": record.change.value,
        "version": record.version,
        "why": record.why,
        "bursting_stopped": record.source.bursting_stopped,
        "stop_why": record.source.stop_why,
        "rules": _rules(record.source),
    }


def _rules(source: PolicySource) -> list[dict[str, str]]:
    return [{"id": rule.id, "effect": rule.effect, "why": rule.why} for rule in parsed(source.text).rules]


def _validity(source: PolicySource) -> str:
    stopped = "; ALL BURSTING IS STOPPED" + (f": {source.stop_why}" if source.stop_why else "")
    until = (
        "valid until it is changed" if source.valid_until_at is None else f"valid until {iso(source.valid_until_at)}"
    )
    return until + (stopped if source.bursting_stopped else "")


def _hours(window: WindowRule) -> str:
    return "; ".join(
        f"{' '.join(DAYS[day] for day in hours.days)} {_clock(hours.start_minute)}-{_clock(hours.end_minute)} {hours.zone}"
        for hours in window.hours
    )


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _told(finding: Finding) -> str:
    return f"{finding.level}: {finding.code} at {finding.where}: {finding.problem} — {finding.remedy}"


def _results(results: tuple[CaseResult, ...]) -> Table:
    passed = sum(result.passed for result in results)
    table = Table(title=f"{passed} of {len(results)} cases pass", title_justify="left")
    for heading in ("", "case", "expected", "got"):
        table.add_column(heading, overflow="fold")
    for result in results:
        mark = Text("✓", style="green") if result.passed else Text("✗", style="red")
        expected = f"{result.expected} ({', '.join(result.expected_policies)})"
        table.add_row(mark, Text(result.name), Text(expected), Text(f"{result.verdict} ({', '.join(result.policies)})"))
    return table


def register(app: typer.Typer) -> None:
    """Add the ``policy`` group."""
    group = typer.Typer(help="What may run where, when and for how much: the policy.", no_args_is_help=True)
    group.command("test")(run_test)
    group.command("check")(check)
    group.command("explain")(explain)
    group.command("show")(show)
    group.command("apply")(apply)
    group.command("history")(history)
    group.command("stop-bursting")(stop_bursting)
    group.command("resume-bursting")(resume_bursting)
    app.add_typer(group, name="policy")
